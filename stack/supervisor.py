"""A stack that runs until it is told to end, in the foreground or behind the scenes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

import msgspec

from stack.broker import BrokerKind
from stack.local import LocalStack
from stack.redis_server import RedisKind
from stack.state import StackState, owned, read_state, status
from vedette.errors import UnavailableError, VedetteError
from vedette.settings import KafkaSettings, RedisSettings, Settings

_START_WITHIN_S = 120.0
_STOP_WITHIN_S = 60.0


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of LocalStack, as they travel to a process of their own."""

    directory: str
    broker: BrokerKind = "embedded"
    redis: RedisKind = "embedded"
    kafka_port: int = 0
    redis_port: int = 0
    kafka_home: str = ""

    def stack(self) -> LocalStack:
        """The stack they describe."""
        return LocalStack(
            Path(self.directory),
            self.broker,
            self.redis,
            self.kafka_port,
            self.redis_port,
            kafka_home=Path(self.kafka_home) if self.kafka_home else None,
        )


def run(options: Options, ready: Callable[[StackState], None]) -> None:
    """Run a stack until this process gets SIGINT, SIGTERM or SIGHUP, then stop it in order.

    Args:
        options: What to run.
        ready: Called once both servers answer.

    Raises:
        UnavailableError: It does not start, or one of its servers ended by itself.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    try:
        with options.stack() as stack:
            state = read_state(stack.directory)
            if state is not None:
                ready(state)
            while True:
                for server in (stack.broker, stack.redis):
                    if not server.running:
                        raise UnavailableError(f"{server.name} has ended; {server.log} ends with:\n{server.log_tail()}")
                time.sleep(0.5)
    except _EndedError:
        return


def detach(options: Options) -> StackState:
    """Run a stack in a process of its own, and return once both servers answer.

    Raises:
        UnavailableError: It does not start; with what the process had to say.
    """
    directory = Path(options.directory)
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / "supervisor.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "stack.supervisor", msgspec.json.encode(options).decode()],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + _START_WITHIN_S
    while time.monotonic() < deadline:
        found = status(directory)
        if found.status == "running" and found.state is not None and found.state.owner == process.pid:
            return found.state
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
        raise UnavailableError(log.read_text(encoding="utf-8", errors="replace").strip())
    process.terminate()
    raise UnavailableError(f"the stack in {directory} does not come up within {_START_WITHIN_S:g} s; see {log}")


def down(directory: Path) -> str:
    """End the stack that runs in a directory, and say what was done.

    Raises:
        UnavailableError: It does not end.
    """
    found = status(directory)
    if found.status == "absent":
        return f"no stack is running in {directory}"
    if found.status == "running" and found.state is not None:
        os.kill(found.state.owner, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_WITHIN_S
    while owned(directory):
        if time.monotonic() > deadline:
            raise UnavailableError(f"the stack in {directory} does not end within {_STOP_WITHIN_S:g} s")
        time.sleep(0.05)
    (directory / "stack.json").unlink(missing_ok=True)
    if found.status == "stale":
        return f"the stack in {directory} had ended without tidying up; removed its stack.json"
    return f"the stack in {directory} has ended; its data stay"


def local_settings(settings: Settings, state: StackState, partitions: int) -> Settings:
    """Settings turned towards a local stack, which knows no passwords and keeps one copy of everything."""
    return msgspec.structs.replace(
        settings,
        kafka=KafkaSettings(bootstrap_servers=state.bootstrap_servers),
        topics=msgspec.structs.replace(settings.topics, partitions=partitions, replication=1),
        redis=RedisSettings(url=state.redis_url, prefix=settings.redis.prefix),
    )


def environment(settings: Settings) -> dict[str, str]:
    """The variables that turn other commands towards a local stack."""
    return {
        "VEDETTE_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "VEDETTE_REDIS__URL": settings.redis.url,
        "VEDETTE_TOPICS__PARTITIONS": str(settings.topics.partitions),
    }


class _EndedError(BaseException):
    """A signal asked for the end. Not an Exception, so that nothing on the way takes it for a failure."""


def _end(number: int, frame: FrameType | None) -> NoReturn:
    del number, frame
    raise _EndedError


def _main() -> None:
    try:
        run(msgspec.json.decode(sys.argv[1], type=Options), lambda _: None)
    except VedetteError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    _main()
