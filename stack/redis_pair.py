"""A Redis master, its replica, and the Sentinel that promotes the replica when the master fails."""

import time
from pathlib import Path
from typing import Any, Self

import redis

from stack.process import free_ports
from stack.redis_server import RedisKind, RedisServer
from vedette.errors import UnavailableError

SERVICE = "vedette"
_READY_S = 30.0

_SENTINEL = """\
port {port}
bind 127.0.0.1
dir {directory}
sentinel monitor {service} 127.0.0.1 {master} 1
sentinel down-after-milliseconds {service} 1000
sentinel failover-timeout {service} 5000
"""


class _Member(RedisServer):
    """A server of the pair; the first starts as master."""

    def __init__(self, kind: RedisKind, directory: Path, port: int, master: int | None) -> None:
        super().__init__(kind, directory, port)
        self._master = master

    def command(self) -> list[str]:
        """Return the command of a redis-server; a replica is synchronised at once instead of after five seconds."""
        follow = ["--replicaof", "127.0.0.1", str(self._master)] if self._master else []
        return [*super().command(), "--repl-diskless-sync-delay", "0", *follow]


class _Sentinel(RedisServer):
    """redis-server as a Sentinel."""

    def __init__(self, kind: RedisKind, directory: Path, port: int, master: int) -> None:
        super().__init__(kind, directory, port)
        self._watched = master

    def command(self) -> list[str]:
        """Return the program with a configuration file, which the Sentinel rewrites."""
        file = self.directory / "sentinel.conf"
        file.write_text(
            _SENTINEL.format(port=self.port, directory=self.directory, service=SERVICE, master=self._watched),
            encoding="utf-8",
        )
        return [super().command()[0], str(file), "--sentinel"]


class RedisPair:
    """Master, replica and Sentinel, as a context manager; ready once the replica follows and the Sentinel knows it.

    Raises:
        UnavailableError: redis-server is not installed, or does not come up.
    """

    def __init__(self, directory: Path, kind: RedisKind) -> None:
        first, second, third = free_ports(3)
        self.master = _Member(kind, directory / "master", first, None)
        self.replica = _Member(kind, directory / "replica", second, first)
        self._sentinel = _Sentinel(kind, directory / "sentinel", third, first)

    @property
    def url(self) -> str:
        """The value of `[redis] url`."""
        return f"redis+sentinel://{self._sentinel.address}/{SERVICE}"

    def __enter__(self) -> Self:
        try:
            self.master.start()
            self.replica.start()
            self._until_known(self.master, "connected_slaves", 1)
            self._sentinel.start()
            self._until_known(self._sentinel, "master0", {"status": "ok", "slaves": 1})
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for server in (self._sentinel, self.replica, self.master):
            server.stop()

    @property
    def promoted(self) -> bool:
        """Whether the replica has become master."""
        with redis.Redis(port=self.replica.port) as client:
            info: Any = client.info("replication")
            return bool(info["role"] == "master")

    def _until_known(self, server: RedisServer, field: str, wanted: Any) -> None:
        deadline = time.monotonic() + _READY_S
        with redis.Redis(port=server.port) as client:
            while time.monotonic() < deadline:
                seen: Any = client.info().get(field)
                if seen == wanted or (isinstance(wanted, dict) and seen and wanted.items() <= seen.items()):
                    return
                time.sleep(0.05)
        raise UnavailableError(f"{server.name}: {field} is {seen}, not {wanted}; see {server.log}")
