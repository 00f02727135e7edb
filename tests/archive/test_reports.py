"""Reports on a period."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.archive.conftest import HOUR, START, Log, decision, label, payment
from tests.archive.test_control import POLICIES, TRIAL
from tests.command import Done, vedette
from vedette.events import ClosedIncident, IncidentOutcome, Transaction
from vedette.settings import ArchiveSettings, Settings
from vedette.settings_page import describe
from vedette.topics import Name

CHANGES = (msgspec.structs.replace(POLICIES[1], at=START - 60 * 24 * HOUR), TRIAL, POLICIES[0])
PERIOD = ("--from", "2023-11-01", "--to", "2023-12-01")


def paid(number: int, amount: int, **more: object) -> Transaction:
    """Return a payment."""
    return msgspec.structs.replace(payment(number), amount=amount, **more)


@pytest.fixture
def report(
    tmp_path: Path, archive_settings: ArchiveSettings, fill: Callable[[dict[Name, Log]], None]
) -> Callable[..., Done]:
    """Runs `vedette report` on six payments: two frauds, one of them declined, one false alarm, a refund."""
    payments = [
        paid(0, 1000, channel="ecom", currency="EUR", country="ES"),
        paid(1, 2550, channel="ecom", currency="EUR", country="ES"),
        paid(2, 4000, channel="transfer", currency="EUR", country="FR", payee="p", merchant_id=None),
        paid(3, 500, channel="pos", currency="JPY", country="JP"),
        paid(4, 700, channel="pos", currency="EUR", country="ES"),
        paid(5, 9999, channel="ecom", currency="EUR", country="ES", kind="refund"),
    ]
    actions = ["approve", "decline", "approve", "approve", "review", "approve"]
    labels = [label(payments[number], number in (1, 2), START + HOUR) for number in (1, 2, 4)]
    fill(
        {
            Name.TRANSACTIONS: [(0, made) for made in payments],
            Name.DECISIONS: [
                (0, decision(made, action, model="m 1", policy="p 1", score=0.05 + 0.1 * number, rules=["<b>fast"]))
                for number, (made, action) in enumerate(zip(payments, actions, strict=True))
            ],
            Name.LABELS: [(0, each) for each in labels],
            Name.INCIDENTS: [
                (0, closed(1, [payments[1]], "confirmed", 30)),
                (0, closed(2, [payments[4]], "false_alarm", 90)),
                (0, closed(3, [paid(999, 1)], "expired", 5)),
            ],
            Name.CONTROL: [(0, msgspec.json.encode(record)) for record in CHANGES],
        }
    )
    file = tmp_path / "vedette.toml"
    file.write_text(describe(Settings(archive=archive_settings)), encoding="utf-8")
    return lambda *arguments: vedette("--settings", str(file), "report", *arguments)


def closed(number: int, payments: list[Transaction], outcome: IncidentOutcome, minutes: int) -> ClosedIncident:
    """Return an incident that was closed some minutes after the decision on its payments, which is one of the first."""
    return ClosedIncident(
        incident_id=number,
        account_id=payments[0].account_id,
        state=outcome,
        transaction_ids=[made.transaction_id for made in payments],
        closed_at=START + minutes * 60_000,
    )


def tables(done: Done) -> dict[str, list[dict[str, object]]]:
    """Return the tables of a report as JSON."""
    assert done.returncode == 0, done.stderr
    found: dict[str, list[dict[str, object]]] = json.loads(done.stdout)["tables"]
    return found


@pytest.mark.runs("report regulator")
def test_frauds_are_broken_down_as_regulators_ask(report: Callable[..., Done]) -> None:
    """Instrument, initiation and authentication are counted, by number and value; a refund is not a payment."""
    rows = tables(report("regulator", *PERIOD, "--json"))["instruments"]
    found = {(row["instrument"], row["initiation"], row["currency"]): row for row in rows}
    card = found["card payment", "remote", "EUR"]
    assert (card["payments"], card["value"], card["frauds"], card["fraud_value"]) == (2, "35.50", 1, "25.50")
    assert found["credit transfer", "remote", "EUR"]["fraud_value"] == "40.00"
    assert found["card payment", "non-remote", "JPY"]["value"] == "500"


@pytest.mark.runs("report institution")
def test_detection_is_counted_with_money(report: Callable[..., Done]) -> None:
    """The report has caught and missed frauds, money prevented and lost, false alarms, recall and precision."""
    (euro, yen) = tables(report("institution", *PERIOD, "--json"))["detection"]
    assert (euro["frauds"], euro["caught"], euro["prevented_value"], euro["lost_value"]) == (2, 1, "25.50", "40.00")
    assert (euro["false_alarms"], euro["recall_rate"], euro["precision_rate"]) == (1, 0.5, 0.5)
    assert (yen["frauds"], yen["recall_rate"]) == (0, None)


def test_the_team_is_timed(report: Callable[..., Done]) -> None:
    """Each outcome has its incidents and the minutes from the decision to the close; others' incidents do not count."""
    rows = tables(report("institution", *PERIOD, "--json"))["team"]
    found = {row["outcome"]: row for row in rows}
    assert set(found) == {"confirmed", "false_alarm"}
    assert (found["confirmed"]["incidents"], found["confirmed"]["minutes_median"]) == (1, 30.0)
    assert found["false_alarm"]["minutes_p95"] == 90.0


def test_changes_name_their_approver(report: Callable[..., Done]) -> None:
    """A change of the period is listed with its version, approver and reason; an earlier one is not."""
    (trial, policy) = tables(report("model", *PERIOD, "--json"))["changes"]
    assert (trial["kind"], trial["version"], trial["challenger"]) == ("models", "old@00000000", "new@00000000")
    assert (trial["approver"], trial["rollout_rate"]) == ("Ada", 0.2)
    assert (policy["kind"], policy["version"], policy["reason"]) == ("policy", "p@1", "because")


@pytest.mark.runs("report model")
def test_models_are_compared(report: Callable[..., Done]) -> None:
    """Decisions are counted by version of model and policy."""
    (euro, _) = tables(report("model", *PERIOD, "--json"))["models"]
    assert (euro["model"], euro["policy"], euro["flagged"], euro["missed_value"]) == ("m 1", "p 1", 2, "40.00")


@pytest.mark.parametrize("kind", ["regulator", "institution", "model"])
def test_a_page_needs_nothing_else(report: Callable[..., Done], kind: str, tmp_path: Path) -> None:
    """The page has all tables, loads nothing else, and escapes every text of a payment."""
    assert report(kind, *PERIOD, "--html", str(tmp_path / "r.html")).returncode == 0
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert page.count("<table>") >= 2
    assert not [word for word in ("http", "<script", "<b>", "src=") if word in page]


def test_tables_are_written_as_csv(report: Callable[..., Done], tmp_path: Path) -> None:
    """Each table is one file, with money in major units."""
    assert report("institution", *PERIOD, "--csv", str(tmp_path / "out")).returncode == 0
    none = ("--from", "2001-01-01", "--to", "2001-02-01", "--csv", str(tmp_path / "none"))
    assert report("institution", *none).returncode == 1
    (header,) = (tmp_path / "none" / "team.csv").read_text(encoding="utf-8").splitlines()
    assert header.startswith("outcome,incidents,")  # a table without rows still has its columns
    with (tmp_path / "out" / "decisions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert ("decline", "25.50") in {(row["decision"], row["value"]) for row in rows}


def test_a_period_without_payments(report: Callable[..., Done]) -> None:
    """An empty period says so and ends with 1; a period that ends before it begins is refused."""
    empty = report("regulator", "--from", "2020-01-01", "--to", "2020-02-01")
    assert (empty.returncode, "none in this period" in empty.stdout) == (1, True)
    assert report("regulator", "--from", "2020-02-01", "--to", "2020-01-01").returncode == 2
