"""A `vedette gateway run` as a child process, with keys and a credential of its own, or a service beside it."""

import base64
import os
import re
import signal
import sys
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import msgspec

from stack.process import Child, free_ports
from vedette.settings import AuditSettings, DatabaseSettings, MfaSettings, Settings
from vedette.settings_base import Secret
from vedette.settings_gateway import PreviewSettings
from vedette.settings_page import describe

_VEDETTE = (sys.executable, "-P", "-c", "from cli.main import main; main()", "--settings")
_STOP_WITHIN_S = 60.0


def gateway_settings(settings: Settings, directory: Path) -> Settings:
    """Return settings under which a gateway can run on this machine: a port, a database, an audit log, and keys.

    Args:
        settings: Where broker and topics are.
        directory: For the database, the audit log and the files of keys.
    """
    files = {
        "keys": f"k1:{base64.b64encode(os.urandom(32)).decode()}",
        "audit-key": os.urandom(16).hex(),
        "token": os.urandom(24).hex(),
    }
    for name, text in files.items():
        if not (directory / name).exists():
            (directory / name).write_text(text, encoding="ascii")
    (port,) = free_ports(1, avoid={settings.worker.metrics_port})
    preview_port = free_ports(1, avoid={settings.worker.metrics_port, port})[0]
    replaced = msgspec.structs.replace
    return replaced(
        settings,
        gateway=replaced(settings.gateway, port=port, metrics_port=0),
        database=DatabaseSettings(url=f"sqlite:///{directory / 'gateway.sqlite'}"),
        audit=AuditSettings(path=str(directory / "audit.jsonl"), key=Secret(file=str(directory / "audit-key"))),
        preview=PreviewSettings(port=preview_port, token=Secret(file=str(directory / "token"))),
        mfa=MfaSettings(keys=Secret(file=str(directory / "keys")), metrics_port=0),
    )


class GatewayProcess:
    """A gateway with settings of its own, or one of the services beside it.

    Args:
        settings: See gateway_settings.
        directory: For the settings' file and the log.
        name: Of both.
        service: `gateway`, `preview`, `webhooks` or `mfa`.
    """

    def __init__(self, settings: Settings, directory: Path, name: str = "gateway", service: str = "gateway") -> None:
        file = directory / f"{name}.toml"
        file.write_text(describe(settings), encoding="utf-8")
        self.log = directory / f"{name}.log"
        own: Any = getattr(settings, service)
        self._address = (own.host, own.port)
        self.url = f"http://{self._address[0]}:{self._address[1]}"
        self._child = Child([*_VEDETTE, str(file), service, "run"], log=self.log)

    @property
    def running(self) -> bool:
        """Whether it is running."""
        return self._child.running

    @property
    def pid(self) -> int:
        """Process id."""
        return self._child.pid

    @property
    def log_tail(self) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-30:])

    @property
    def metrics_url(self) -> str:
        """URL of its metrics, once it has started."""
        found = re.findall(r'"metrics":\s*"(http[^"]+)"', self.log.read_text(encoding="utf-8"))
        return str(found[-1]) if found else ""

    @property
    def ready(self) -> bool:
        """Whether it reports that it is ready."""
        connection = HTTPConnection(*self._address, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def kill(self) -> None:
        """End it by SIGKILL."""
        self._child.kill()

    def stop(self) -> int | None:
        """End it by SIGTERM and return its exit code, or kill it and return None if it does not end."""
        if self.running:
            os.kill(self._child.pid, signal.SIGTERM)
        code = self._child.exit_code(within_s=_STOP_WITHIN_S)
        if code is None:
            self._child.kill()
        return code
