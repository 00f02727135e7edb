"""A stack that runs until it is stopped, in the foreground or detached."""

import os
import secrets
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
from vedette.settings import IdentitySettings, KafkaSettings, RedisSettings, Settings
from vedette.settings_base import Secret
from vedette.settings_cards import CardSettings
from vedette.settings_file import ENV_PREFIX

_START_WITHIN_S = 120.0
_STOP_WITHIN_S = 60.0


class StackOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of LocalStack, serialised for a separate process."""

    directory: str
    broker: BrokerKind = "embedded"
    redis: RedisKind = "embedded"
    kafka_port: int = 0
    redis_port: int = 0
    kafka_home: str = ""

    def stack(self) -> LocalStack:
        """Return the stack they describe."""
        return LocalStack(
            Path(self.directory),
            self.broker,
            self.redis,
            self.kafka_port,
            self.redis_port,
            kafka_home=Path(self.kafka_home) if self.kafka_home else None,
        )


def run(options: StackOptions, ready: Callable[[StackState], None]) -> None:
    """Run a stack until this process gets SIGINT, SIGTERM or SIGHUP, then stop it gracefully.

    Args:
        options: Options of the stack.
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


def detach(options: StackOptions) -> StackState:
    """Run a stack in a separate process, and return once both servers answer.

    Raises:
        UnavailableError: It does not start; the message contains the output of the process.
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
    """Stop the stack that runs in a directory, and return a description of the result.

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
        return f"the stack in {directory} had ended without cleaning up; removed its stack.json"
    return f"the stack in {directory} has ended; its data is kept"


def local_settings(settings: Settings, state: StackState, partitions: int, directory: Path) -> Settings:
    """Return settings for a local stack, which has no passwords and keeps one copy of everything.

    The keys of identifiers and card numbers are the deployment's or, without one, the stack's own, generated in its
    directory: a stack makes tokens of card numbers.
    """
    cards = settings.cards
    if cards.numbers == "refuse" and cards.key is None:
        key, letters = _own_key(directory, "cards", "key"), _own_key(directory, "cards", "dead_letter_key")
        cards = CardSettings(numbers="tokenise", key=key, dead_letter_key=letters)
    return msgspec.structs.replace(
        settings,
        identity=settings.identity
        if settings.identity.key
        else IdentitySettings(key=_own_key(directory, "identity", "key")),
        cards=cards,
        kafka=KafkaSettings(bootstrap_servers=state.bootstrap_servers),
        topics=msgspec.structs.replace(settings.topics, partitions=partitions, replication=1),
        redis=RedisSettings(url=state.redis_url, prefix=settings.redis.prefix),
    )


def _own_key(directory: Path, section: str, key: str) -> Secret:
    """Return a key of a stack, which stays with its state."""
    path = (directory / f"{section}.{key}").resolve()
    if not path.exists():
        path.touch(0o600)
        path.write_text(secrets.token_hex(32) + "\n", encoding="ascii")
    return Secret(file=str(path), key=f"[{section}] {key}_file")


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment variables that point other commands to a local stack."""
    secrets_of = {
        "IDENTITY__KEY_FILE": settings.identity.key, "CARDS__KEY_FILE": settings.cards.key,
        "CARDS__DEAD_LETTER_KEY_FILE": settings.cards.dead_letter_key,
    }  # fmt: skip
    return {
        **{ENV_PREFIX + name: secret.file for name, secret in secrets_of.items() if secret and secret.file},
        "VEDETTE_CARDS__NUMBERS": settings.cards.numbers,
        "VEDETTE_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "VEDETTE_REDIS__URL": settings.redis.url,
        "VEDETTE_TOPICS__PARTITIONS": str(settings.topics.partitions),
    }


class _EndedError(BaseException):
    """A signal requested the end. Not an Exception, so that no handler treats it as a failure."""


def _end(number: int, frame: FrameType | None) -> NoReturn:
    del number, frame
    raise _EndedError


def _main() -> None:
    try:
        run(msgspec.json.decode(sys.argv[1], type=StackOptions), lambda _: None)
    except VedetteError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    _main()
