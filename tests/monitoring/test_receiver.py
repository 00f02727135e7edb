"""Alertmanager's posts become messages to the operators."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests
from sqlalchemy import select

from adapters.database import open_database
from alerts.incidents.routing_file import read_routing
from alerts.notify import listing
from alerts.notify.operations import OperationsAlert, notify
from alerts.tables import messages
from monitoring.service import operations_of
from stack.process import free_ports
from tests.conftest import Dial, wait_for
from vedette.errors import SettingsError
from vedette.settings import DatabaseSettings, IncidentSettings, MonitorSettings, NotifySettings, Settings
from vedette.settings_base import Secret
from vedette.settings_page import describe

ROUTING = """\
format: 1
recipients:
  operators: {channel: email, to: operators@bank.example}
routes:
  - notify: [operators]
"""
TOKEN = "t" * 32


def post(*, status: str = "firing", name: str = "VedetteRedisDown") -> dict[str, Any]:
    """Return what Alertmanager 0.25 posts."""
    alert = {
        "status": status, "labels": {"alertname": name, "severity": "critical"},
        "annotations": {"summary": "Redis does not answer the monitor.", "runbook": f"docs/runbooks/{name}.md"},
        "startsAt": "2026-11-30T12:00:00Z", "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://p/", "fingerprint": "ab12",
    }  # fmt: skip
    return {"version": "4", "groupKey": "{}", "status": status, "receiver": "team", "alerts": [alert]}


@pytest.fixture
def deployment(settings: Settings, tmp_path: Path) -> Settings:
    """A deployment whose operators get e-mails."""
    (tmp_path / "routing.yaml").write_text(ROUTING, encoding="utf-8")
    (tmp_path / "token").write_text(TOKEN, encoding="utf-8")
    (port,) = free_ports(1)
    return msgspec.structs.replace(
        settings,
        database=DatabaseSettings(url=f"sqlite:///{tmp_path / 'alerts.sqlite'}"),
        incidents=IncidentSettings(routing=str(tmp_path / "routing.yaml")),
        notify=NotifySettings(email_from="vedette@bank.example"),
        monitor=MonitorSettings(
            port=port, every_s=0.5, folders=[str(tmp_path)], recipients=["operators"],
            token=Secret(file=str(tmp_path / "token"), key="[monitor] token_file"),
        ),
    )  # fmt: skip


@pytest.fixture
def monitor(deployment: Settings, tmp_path: Path) -> Iterator[str]:
    """The address of a running `vedette monitor run`."""
    file = tmp_path / "vedette.toml"
    file.write_text(describe(deployment), encoding="utf-8")
    command = [sys.executable, "-m", "cli", "--settings", str(file), "monitor", "run"]
    environment = os.environ | {
        "VEDETTE_MONITOR__TOKEN_FILE": str(tmp_path / "token")
    }  # a settings file has no secrets
    with (
        (tmp_path / "monitor.log").open("wb") as log,
        subprocess.Popen(command, stderr=log, env=environment) as process,
    ):
        yield f"http://127.0.0.1:{deployment.monitor.port}"
        process.terminate()
        assert process.wait(60) == 0


@pytest.mark.runs("monitor run")
def test_the_service_shows_metrics_and_takes_alerts_once(monitor: str, deployment: Settings) -> None:
    """Metrics need no token, posts do; a repeated post is one message; the end of an alert is another."""

    def metrics() -> str:
        try:
            return requests.get(f"{monitor}/metrics", timeout=5).text
        except requests.ConnectionError:
            return ""

    wait_for(lambda: 'vedette_probe_up{probe="disks"} 1.0' in metrics(), 60)
    address, token = f"{monitor}/v1/alertmanager", {"Authorization": f"Bearer {TOKEN}"}
    assert requests.post(address, json=post(), timeout=10).status_code == 401
    assert requests.post(address, json=post(), headers={"Authorization": "Bearer x"}, timeout=10).status_code == 401
    assert requests.post(address, json={"alerts": 3}, headers=token, timeout=10).status_code == 422
    answers = [
        requests.post(address, json=post(status=status), headers=token, timeout=10).json()
        for status in ("firing", "firing", "resolved")
    ]
    assert answers == [{"messages": 1}, {"messages": 0}, {"messages": 1}]
    found = listing(deployment, ["pending"], 10)
    assert [(row.recipient, row.channel, row.urgent) for row in found.messages] == [("operators", "email", True)] * 2
    assert 'vedette_probe_up{probe="kafka"} 1.0' in metrics()


def test_a_recipient_that_the_routing_does_not_know_is_named(deployment: Settings) -> None:
    """Whoever would get no alert is found at the start; so is a missing token."""
    replaced = msgspec.structs.replace
    engine = open_database(deployment.database)
    for change, words in (({"recipients": ["nobody"]}, "'nobody'.*operators"), ({"token": None}, "token")):
        wrong = replaced(deployment, monitor=replaced(deployment.monitor, **change))  # type: ignore[arg-type]
        with pytest.raises(SettingsError, match=words):
            operations_of(wrong, engine, Dial())
    engine.dispose()


def test_a_text_of_somebody_elses_choice_forges_no_line(deployment: Settings, tmp_path: Path) -> None:
    """Labels come from metrics; line breaks in them do not start a new line of the message."""
    routing = read_routing(tmp_path / "routing.yaml", {"en"})
    alert = OperationsAlert("firing", {"alertname": "A\nB"}, {"summary": "one\r\ntwo"}, "2026-11-30T12:00:00Z", "f")
    engine = open_database(deployment.database)
    with engine.begin() as connection:
        assert notify(connection, [alert], routing, ["operators"], 1) == 1
        body = msgspec.json.decode(connection.execute(select(messages.c.body)).scalar_one())
    engine.dispose()
    assert body["subject"] == "FIRING: A B"
    assert body["text"].splitlines()[:2] == ["FIRING: A B", "one  two"]
