"""A stack's directory: its owner, and the addresses of its servers."""

import fcntl
import os
import time
from pathlib import Path
from typing import Literal

import msgspec

from adapters.files import write_atomically
from vedette.errors import StateError, UnavailableError

VERSION = 1
_HANDOVER_S = 30.0


class StackState(msgspec.Struct, frozen=True, kw_only=True):
    """The content of `stack.json`."""

    version: int = VERSION
    owner: int
    broker: str
    broker_pid: int
    bootstrap_servers: str
    redis: str
    redis_pid: int
    redis_url: str


class StackStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Status of a stack's directory.

    `running`: a process owns it and its state is known. `starting`: owned, but not ready yet, or just ending. `stale`:
        the state is from a stack that ended without cleaning up. `absent`: there was never a stack, or it has ended.
    """

    status: Literal["running", "starting", "stale", "absent"]
    state: StackState | None = None


class Ownership:
    """The right to run a stack in a directory: a lock on `stack.lock`.

    The stack's servers inherit the lock, so it is free only once the last of them has ended, even after a crash of
    their parent. There is no need to guess from process ids whether they are still running.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._fd = -1

    @property
    def fd(self) -> int:
        """Return the descriptor to pass to the servers."""
        return self._fd

    def take(self) -> None:
        """Become the owner, waiting for the servers of a crashed owner to end.

        Raises:
            UnavailableError: Another process runs a stack here.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        fd = os.open(self._directory / "stack.lock", os.O_RDWR | os.O_CREAT, 0o644)
        deadline = time.monotonic() + _HANDOVER_S
        while not _lock(fd):
            state = read_state(self._directory)
            if state is None or _alive(state.owner) or time.monotonic() > deadline:
                os.close(fd)
                owner = f" by process {state.owner}" if state else ""
                raise UnavailableError(
                    f"a stack is already running in {self._directory}{owner}",
                    remedy=f"end it with `vedette stack down --dir {self._directory}`, or name another --dir",
                )
            time.sleep(0.05)
        self._fd = fd

    def publish(self, state: StackState) -> None:
        """Write `stack.json` atomically."""
        content = msgspec.json.format(msgspec.json.encode(state)) + b"\n"
        write_atomically(self._directory / "stack.json", content)

    def release(self) -> None:
        """Release the directory, once the servers have ended."""
        if self._fd >= 0:
            (self._directory / "stack.json").unlink(missing_ok=True)
            fcntl.flock(self._fd, fcntl.LOCK_UN)
            os.close(self._fd)
            self._fd = -1


def read_state(directory: Path) -> StackState | None:
    """Return the content of `stack.json`, or None if there is none.

    Raises:
        StateError: The file was not written by Vedette.
    """
    path = directory / "stack.json"
    try:
        state = msgspec.json.decode(path.read_bytes(), type=StackState)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise StateError(f"{path} cannot be read: {error}", remedy="delete it if no stack is running") from error
    if state.version != VERSION:
        raise StateError(f"{path} has version {state.version}, not {VERSION}", remedy="delete it")
    return state


def status(directory: Path) -> StackStatus:
    """Return the status of a stack's directory."""
    state = read_state(directory)
    if not owned(directory):
        return StackStatus(status="stale" if state else "absent", state=state)
    if state is None or not _alive(state.owner):
        return StackStatus(status="starting")
    return StackStatus(status="running", state=state)


def owned(directory: Path) -> bool:
    """Return whether a stack's owner or one of its servers is still running."""
    try:
        fd = os.open(directory / "stack.lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        return not _lock(fd)
    finally:
        os.close(fd)


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
