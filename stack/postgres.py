"""A separate PostgreSQL server on 127.0.0.1, from the system's packages."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psycopg

from stack.server import Server
from vedette.errors import UnavailableError

_DEBIAN = Path("/usr/lib/postgresql")  # Debian keeps the server's programs off PATH, in one folder per version
_SERVICE = "postgres"


class PostgresServer(Server):
    """PostgreSQL with one superuser, `vedette`, who needs no password from this machine.

    The server refuses to run as root, so root runs it as the user that its package created.

    Args:
        directory: Folder of its data and log; that user must have access to it.
        port: The port it listens on.
        hold: File descriptors that its process keeps open.
    """

    name = "PostgreSQL"
    stop_within_s = 5.0

    def __init__(self, directory: Path, port: int, hold: Sequence[int] = ()) -> None:
        super().__init__(directory, port, hold)
        self._data = self.directory / "data"

    @property
    def url(self) -> str:
        """Return the value of `[database] url`."""
        return f"postgresql://vedette@{self.address}/postgres"

    def command(self) -> list[str]:
        """Return the server's binary; a new data directory is initialised first."""
        programs = find_programs()
        if not (self._data / "PG_VERSION").exists():
            if os.geteuid() == 0:
                shutil.chown(self.directory, _SERVICE, _SERVICE)
            self._initialise(programs)
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "shared_buffers": "16MB",
        }
        settings = [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
        return [*_as_service(), str(programs / "postgres"), "-D", str(self._data), *settings]

    def ping(self, timeout_s: float) -> None:
        """Connect."""
        try:
            psycopg.connect(self.url, connect_timeout=max(2, round(timeout_s))).close()
        except psycopg.OperationalError as error:
            raise UnavailableError(f"PostgreSQL does not answer on {self.address}: {error}") from error

    def _initialise(self, programs: Path) -> None:
        command = [str(programs / "initdb"), "-D", str(self._data), "-U", "vedette", "-A", "trust", "-E", "UTF8"]
        done = subprocess.run(
            [*_as_service(), *command, "--no-locale", "--no-sync"], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise UnavailableError(f"initdb cannot make {self._data}: {(done.stderr or done.stdout).strip()}")


def find_programs() -> Path:
    """Return the folder with `postgres` and `initdb`.

    Raises:
        UnavailableError: PostgreSQL's server is not installed.
    """
    found = [path.parent for path in sorted(_DEBIAN.glob("*/bin/initdb"), reverse=True)]
    if not found and (initdb := shutil.which("initdb")):
        found = [Path(initdb).resolve().parent]
    if not found:
        raise UnavailableError("PostgreSQL is not installed", remedy="run scripts/install-test-deps")
    return found[0]


def _as_service() -> list[str]:
    """Return the prefix with which a command does not run as root."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={_SERVICE}", f"--regid={_SERVICE}", "--clear-groups", "--"]
