"""A `vedette worker` as a child process: its log, its endpoint, and its exit code."""

import os
import signal
import sys
from collections.abc import Sequence
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import msgspec

from stack.process import Child
from vedette.settings import Settings
from vedette.settings_page import describe

VEDETTE = (sys.executable, "-P", "-c", "from cli.main import main; main()")
"""Command line of `vedette`."""
_STOP_WITHIN_S = 240.0
"""Time-out of a stop, far above the usual time, for busy machines."""


class WorkerProcess:
    """A worker with separate settings.

    Args:
        settings: Written to a file that the worker reads.
        directory: Folder of that file and the log.
        name: Base name of both.
        options: Further options of the command.
    """

    def __init__(self, settings: Settings, directory: Path, name: str, options: Sequence[str] = ()) -> None:
        file = directory / f"{name}.toml"
        file.write_text(describe(settings), encoding="utf-8")
        self.log = directory / f"{name}.log"
        self._child = Child([*VEDETTE, "--settings", str(file), "worker", *options], log=self.log)

    @property
    def running(self) -> bool:
        """Whether it is running."""
        return self._child.running

    @property
    def log_tail(self) -> str:
        """Return the end of its log."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-30:])

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self._child.kill()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self._child.pid, number)

    def stop(self) -> int | None:
        """Stop it with SIGTERM and return its exit code, or kill it and return None if it does not end."""
        if self.running:
            self.signal(signal.SIGTERM)
        code = self._child.exit_code(within_s=_STOP_WITHIN_S)
        if code is None:
            self._child.kill()
        return code

    def exit_code(self, *, within_s: float = 0.0) -> int | None:
        """Return the exit code, or None if it still runs after this many seconds."""
        return self._child.exit_code(within_s=within_s)

    def events(self, event: str) -> list[dict[str, Any]]:
        """Return the events it has logged under a name."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        records = [msgspec.json.decode(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [record for record in records if record["event"] == event]

    def get(self, path: str) -> tuple[int, str]:
        """Return status and body of its endpoint; status 0 while it does not answer."""
        if not (started := self.events("worker starts")):
            return 0, ""
        connection = HTTPConnection(started[0]["metrics"].split("/")[2], timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()

    def metric(self, name: str) -> float:
        """Return the sum of a metric over its labels."""
        lines = self.get("/metrics")[1].splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    @property
    def ready(self) -> bool:
        """Return whether it reports that it is ready."""
        return self.get("/readyz")[0] == 200
