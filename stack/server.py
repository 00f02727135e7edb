"""Base of the servers of the local stack: start, stop, kill, and restart on the same port and data."""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from stack.process import Child, port_is_free
from vedette.errors import UnavailableError

_LOG_LINES = 15


class Server(ABC):
    """A server process with a port of 127.0.0.1, a data directory and a log.

    Args:
        directory: Folder of its data and its log `server.log`; created at the start.
        port: The port it listens on.
        hold: File descriptors that its process keeps open, such as the lock of the stack's directory.
    """

    name: str
    ready_within_s = 30.0
    stop_within_s = 20.0

    def __init__(self, directory: Path, port: int, hold: Sequence[int] = ()) -> None:
        self.directory = directory.absolute()
        self.port = port
        self.log = self.directory / "server.log"
        self._hold = hold
        self._child: Child | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """Return program and arguments, after preparing the directory.

        Raises:
            UnavailableError: A part is not installed.
        """

    @abstractmethod
    def ping(self, timeout_s: float) -> None:
        """Contact it as a client would.

        Raises:
            UnavailableError: It does not answer, or not yet.
        """

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Process id.

        Raises:
            UnavailableError: It is not running.
        """
        if self._child is None:
            raise UnavailableError(f"{self.name} is not running")
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether its process is running."""
        return self._child is not None and self._child.running

    def start(self) -> None:
        """Start it and return once it answers.

        Raises:
            UnavailableError: A part is missing, the port is in use, it ended, or it does not answer in time; the
                message contains the end of its log.
        """
        if self.running:
            raise UnavailableError(f"{self.name} is already running as process {self.pid}")
        if not port_is_free(self.port):  # otherwise another server could answer the ping below
            raise UnavailableError(f"{self.name} cannot listen on {self.address}: the port is in use")
        self.directory.mkdir(parents=True, exist_ok=True)
        child = self._child = Child(self.command(), log=self.log, hold=self._hold)
        deadline = time.monotonic() + self.ready_within_s
        while True:
            try:
                self.ping(1.0)
            except UnavailableError as error:
                code = child.exit_code(within_s=0.05)
                if code is None and time.monotonic() < deadline:
                    continue
                what = f"does not answer on {self.address}" if code is None else f"ended with exit code {code}"
                self.stop()
                raise UnavailableError(f"{self.name} {what}; {self.log} ends with:\n{self.log_tail()}") from error
            return

    def stop(self) -> None:
        """Stop it gracefully; do nothing if it is not running."""
        if self._child is not None:
            self._child.stop(within_s=self.stop_within_s)
            self._child = None

    def kill(self) -> None:
        """Kill it with SIGKILL, as a crash would; do nothing if it is not running."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def restart(self) -> None:
        """Stop it if it is running, and start it on the same port and data."""
        self.stop()
        self.start()

    def log_tail(self) -> str:
        """Return the last lines of its log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_LOG_LINES:])
