"""The stream that is run with and without faults, and what a run without any leaves behind."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.faults.deployment import Deployment
from bench.faults.outcome import Outcome
from bench.faults.stream import Stream, simulated
from bench.faults.trial import deployed, undisturbed
from stack.local import LocalStack
from tests.conftest import running

Deploy = Callable[[LocalStack, Stream], Deployment]


@pytest.fixture(scope="session")
def stream() -> Stream:
    """30,000 payments of two weeks, their labels, and every kind of poison several times."""
    return simulated(30_000)


@pytest.fixture
def deploy(tmp_path: Path) -> Iterator[Deploy]:
    """Makes a deployment of a stream on a stack, for one worker at a time."""
    with ExitStack() as made:
        yield lambda stack, stream: made.enter_context(deployed(stack, stream, tmp_path, instance="worker"))


@pytest.fixture(scope="module")
def own_apache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A stack of Apache Kafka and the system's Redis whose parts may be killed, as long as they come back."""
    yield from running(LocalStack(tmp_path_factory.mktemp("faults") / "stack", "apache", "system"))


@pytest.fixture(scope="session")
def calm(stream: Stream, embedded_stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What one worker makes of the whole stream when nothing happens to it."""
    return undisturbed(embedded_stack, stream, tmp_path_factory.mktemp("calm"))


@pytest.fixture(scope="session")
def small_calm(stream: Stream, embedded_stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Likewise of the small stream."""
    return undisturbed(embedded_stack, stream.small(), tmp_path_factory.mktemp("small-calm"))
