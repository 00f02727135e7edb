"""Servers that tests share, and what to do where one is not installed."""

import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import psutil
import pytest

from stack.local import LocalStack
from stack.topics import apply
from vedette.errors import UnavailableError
from vedette.settings import (
    KafkaSettings,
    NotifySettings,
    RedisSettings,
    Settings,
    TopicSettings,
    WorkerSettings,
)

SettingsFor = Callable[[LocalStack, str], Settings]


def missing(part: UnavailableError) -> NoReturn:
    """A part that is not installed skips the test on a user's machine, but is a failure in CI.

    Its error says how to install it; one without a remedy is about an installed part that does not start.
    """
    if os.environ.get("CI") or not part.remedy:
        pytest.fail(f"a part is missing or does not start: {part}", pytrace=False)
    pytest.skip(str(part))


def running(stack: LocalStack) -> Iterator[LocalStack]:
    """A stack for the length of a fixture."""
    try:
        stack.start()
    except UnavailableError as error:
        missing(error)
    yield stack
    stack.stop()


def gone(pid: int) -> bool:
    """Whether a process has ended, even if its new parent has not asked for its exit code yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for(condition: Callable[[], bool], within_s: float = 30.0) -> None:
    """Return once a condition holds; fail at the deadline."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "the condition does not hold in time"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def stack_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the shared stacks keep their data."""
    return tmp_path_factory.mktemp("stack")


@pytest.fixture(scope="session")
def embedded_stack(stack_dir: Path) -> Iterator[LocalStack]:
    """The embedded broker and Redis, started once; leave them running."""
    yield from running(LocalStack(stack_dir / "embedded"))


@pytest.fixture(scope="session")
def apache_stack(stack_dir: Path) -> Iterator[LocalStack]:
    """Apache Kafka and the system's Redis, started once; leave them running. Mark the test `kafka`."""
    yield from running(LocalStack(stack_dir / "apache", "apache", "system"))


@pytest.fixture
def topic_prefix() -> str:
    """What no other test puts before its topics, keys and groups, so that all can share one stack."""
    return f"t{uuid.uuid4().hex[:8]}-"


@pytest.fixture(scope="session")
def settings_for() -> SettingsFor:
    """Makes the settings of a stack and a prefix: `settings_for(stack, topic_prefix)`."""

    def make(stack: LocalStack, prefix: str) -> Settings:
        return Settings(
            kafka=KafkaSettings(bootstrap_servers=stack.bootstrap_servers),
            topics=TopicSettings(prefix=prefix),
            redis=RedisSettings(url=stack.redis_url, prefix=prefix),
            worker=WorkerSettings(group=f"{prefix}worker", metrics_port=0),
            notify=NotifySettings(group=f"{prefix}notify"),
        )

    return make


@pytest.fixture
def settings(embedded_stack: LocalStack, settings_for: SettingsFor, topic_prefix: str) -> Settings:
    """Settings of the shared embedded stack with topics of this test's own; a room may have others."""
    made = settings_for(embedded_stack, topic_prefix)
    apply(made)
    return made
