"""Servers and results that all processes of a test run share.

The main process starts a server when the first test needs it and ends it with the run. A process of pytest-xdist asks
the main process through a Unix socket. Servers are children of the main process, so they end with it however it ends.
"""

import fcntl
import pickle
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Protocol, TypeVar

import psycopg

from stack.local import LocalStack
from stack.postgres import PostgresServer
from stack.process import free_ports
from stack.redis_server import RedisServer
from stack.state import StackState, read_state
from vedette.errors import UnavailableError

_T = TypeVar("_T")


@dataclass(frozen=True)
class SharedRedis:
    """A Redis that other tests use as well."""

    url: str


class Servers(Protocol):
    """Where tests find shared servers."""

    directory: Path
    """For results that the processes share."""

    def stack(self, name: str) -> StackState:
        """The addresses of a stack: `embedded` or `apache`."""
        ...

    def url(self, name: str) -> str:
        """The address of a server: `redis-embedded`, `redis-system`, or `postgres` with a database of the process."""
        ...


class OwnServers:
    """Starts the servers and owns them.

    Args:
        process: Name of the test process, for databases of its own.
    """

    def __init__(self, process: str = "main") -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="vedette-tests-"))
        self.directory.chmod(0o755)  # PostgreSQL's own user reaches its folder in here
        self.desk: Desk | None = None
        """Answers the other processes, if there are any."""
        self._process = process
        self._started: dict[str, Any] = {}
        self._locks = {name: Lock() for name in _START}
        self._open = ExitStack()
        self._open.callback(shutil.rmtree, self.directory, ignore_errors=True)

    def stack(self, name: str) -> StackState:
        """See Servers."""
        state: StackState = self.address(name)
        return state

    def url(self, name: str) -> str:
        """See Servers."""
        return str(self.address(name, self._process))

    def address(self, name: str, process: str = "") -> Any:
        """The address of a server, started if it does not run yet.

        Raises:
            UnavailableError: It is not installed or does not start.
        """
        with self._locks[name]:
            if name not in self._started:
                self._started[name] = _START[name](self.directory, self._open)
            found = self._started[name]
            return found(process) if callable(found) else found

    def close(self) -> None:
        """End all servers."""
        if self.desk:
            self.desk.close()
        self._open.close()


class RemoteServers:
    """Asks the main process.

    Args:
        desk: Address of its socket.
        directory: That all processes share.
        process: Name of this process.
    """

    def __init__(self, desk: str, directory: str, process: str) -> None:
        self.directory = Path(directory)
        self._desk = desk
        self._process = process

    def stack(self, name: str) -> StackState:
        """See Servers."""
        state: StackState = self._ask(name)
        return state

    def url(self, name: str) -> str:
        """See Servers."""
        return str(self._ask(name))

    def _ask(self, name: str) -> Any:
        with Client(self._desk) as connection:
            connection.send((name, self._process))
            address, error, remedy = connection.recv()
        if error:
            raise UnavailableError(error, remedy=remedy)
        return address


class Desk:
    """Answers the other processes in threads of the main process."""

    def __init__(self, servers: OwnServers) -> None:
        self.address = str(servers.directory / "desk")
        self._servers = servers
        self._listener = Listener(self.address)
        Thread(target=self._accept, name="desk", daemon=True).start()

    def close(self) -> None:
        """Accept no more questions."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()
            except OSError:
                return  # closed
            Thread(target=self._answer, args=(connection,), name="desk-answer", daemon=True).start()

    def _answer(self, connection: "Connection[Any, Any]") -> None:
        with connection:
            name, process = connection.recv()
            try:
                connection.send((self._servers.address(name, process), "", ""))
            except UnavailableError as error:
                connection.send((None, str(error.args[0]), error.remedy))


def once(directory: Path, name: str, compute: Callable[[], _T]) -> _T:
    """Return a result that the first process to ask for it computes, and the others read."""
    with (directory / f"{name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept = directory / f"{name}.pickle"
        if not kept.exists():
            kept.write_bytes(pickle.dumps(compute()))
        result: _T = pickle.loads(kept.read_bytes())  # noqa: S301, written by a process of this run
    return result


def _stack(name: str, broker: Any, redis: Any) -> Callable[[Path, ExitStack], StackState]:
    def start(directory: Path, open_: ExitStack) -> StackState:
        stack = open_.enter_context(LocalStack(directory / name, broker, redis))
        state = read_state(stack.directory)
        assert state is not None
        return state

    return start


def _redis(kind: Any) -> Callable[[Path, ExitStack], str]:
    def start(directory: Path, open_: ExitStack) -> str:
        server = RedisServer(kind, directory / f"redis-{kind}", *free_ports(1))
        server.start()
        open_.callback(server.stop)
        return server.url

    return start


def _postgres(directory: Path, open_: ExitStack) -> Callable[[str], str]:
    server = PostgresServer(directory / "postgres", *free_ports(1))
    server.start()
    open_.callback(server.stop)
    made: set[str] = set()

    def database(process: str) -> str:
        name = f"tests_{process}"
        if name not in made:
            made.add(name)
            with psycopg.connect(server.url, autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {name}")
        return f"{server.url.rpartition('/')[0]}/{name}"

    return database


_START: dict[str, Callable[[Path, ExitStack], Any]] = {
    "embedded": _stack("embedded", "embedded", "embedded"),
    "apache": _stack("apache", "apache", "system"),
    "redis-embedded": _redis("embedded"),
    "redis-system": _redis("system"),
    "postgres": _postgres,
}
