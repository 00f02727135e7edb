"""What `vedette incidents` shows to a person."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.database import open_database
from alerts.incidents import store
from tests import command
from tests.conftest import NOW
from vedette.clock import HOUR, format_time
from vedette.events import Alert
from vedette.settings import DatabaseSettings

Incidents = Callable[..., str]


@pytest.fixture
def incidents(tmp_path: Path, alert: Callable[..., Alert]) -> Incidents:
    """Runs `vedette incidents` on three incidents; the costliest has two alerts, the later payment's first."""
    settings = DatabaseSettings(url=f"sqlite:///{tmp_path / 'alerts.sqlite'}")
    engine = open_database(settings)
    alerts = [
        alert(1, account_id="a1", expected_loss=100),
        alert(2, account_id="a2", expected_loss=120_000, amount=7_001, event_time=NOW - HOUR),
        alert(3, account_id="a2", expected_loss=3_456, amount=7_002, event_time=NOW - 2 * HOUR),
        alert(4, account_id="a3", expected_loss=2_050),
    ]
    with engine.begin() as connection:
        store.set_ranking_currency(connection, "EUR")
        for each in alerts:
            store.join(connection, [each], lambda alert: alert.expected_loss, NOW)
    engine.dispose()

    def run(*arguments: str) -> str:
        done = command.vedette(
            "incidents",
            *arguments,
            cwd=tmp_path,
            environment={"VEDETTE_DATABASE__URL": settings.url, "COLUMNS": "160", "VEDETTE_AUDIT__KEY": "k" * 32},
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run


def shown(time: int) -> str:
    """Return a time in UTC to the second, as commands print it."""
    return f"{format_time(time)[:19]}Z"


def test_a_list_says_how_many_it_leaves_out(incidents: Incidents) -> None:
    """The costliest comes first; losses have a currency, times are UTC, and the last line counts all incidents."""
    *table, count = incidents("list", "--limit", "1").splitlines()
    (row,) = [line for line in table if "a2" in line]
    assert "1,234.56 EUR" in row
    assert shown(NOW - HOUR) in row
    assert not any("a1" in line or "a3" in line for line in table)
    assert count == "1 of 3 open incidents; --limit 3 lists all"
    assert incidents("list").splitlines()[-1] == "3 of 3 open incidents"


@pytest.mark.runs("incidents show")
def test_alerts_are_shown_by_the_time_of_their_payments(incidents: Incidents) -> None:
    """The earlier payment is shown first, although its alert arrived later, with its own amount and time."""
    alerts = [line.split("  ")[1:] for line in incidents("show", "2").splitlines() if "score" in line]
    assert [at for at, *_ in alerts] == [shown(NOW - 2 * HOUR), shown(NOW - HOUR)]
    assert [rest[0].split(" EUR")[0] for _, *rest in alerts] == ["70.02", "70.01"]


@pytest.mark.runs("incidents list", "incidents ack", "incidents confirm", "incidents dismiss")
def test_incidents_are_acknowledged_and_closed(incidents: Incidents) -> None:
    """Each says the new state, and what is closed is in the list of all only."""
    assert incidents("ack", "1", "--who", "ana") == "incident 1 is acknowledged\n"
    assert json.loads(incidents("confirm", "1", "--who", "ana", "--json"))["state"] == "confirmed"
    assert json.loads(incidents("dismiss", "2", "--json"))["id"] == 2
    assert [each["id"] for each in json.loads(incidents("list", "--json"))["incidents"]] == [3]
    assert len(json.loads(incidents("list", "--all", "--json"))["incidents"]) == 3
