from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest

from archive.maintenance import compact
from archive.search import Archive, Question
from archive.tables import TABLES
from archive.writer import TableWriter
from tests.archive.conftest import HOUR, START, Log, challenge, decision, label, payment, shuffled, stored
from vedette.clock import SystemClock
from vedette.errors import InputError, UnavailableError
from vedette.events import UNSET, Challenge, ClosedIncident, Decision, Label, Transaction
from vedette.settings import ArchiveSettings
from vedette.topics import Name

Fill = Callable[[dict[Name, Log]], None]


def a_week(random: Random) -> dict[Name, Log]:
    """Sixty payments with repeated, degraded, final and missing decisions, challenges and labels, in any order."""
    payments: Log = []
    decisions: Log = []
    challenges: Log = []
    labels: Log = []
    incidents: Log = []
    for number in range(60):
        made = payment(number)
        partition = number % 5 % 2
        payments.append((partition, made))
        if random.random() < 0.1:
            payments.append((partition, made))
        if number % 11 == 0:
            continue
        if random.random() < 0.2:
            decisions.append((partition, decision(made, "review", degraded=True)))
        if number % 13 == 0:
            continue
        action = random.choice(["approve", "challenge", "decline"])
        decisions.append((partition, decision(made, action, rules=["night"] if number % 4 == 0 else [])))
        if random.random() < 0.2:
            decisions.append((partition, decision(made, action)))
        if action == "challenge":
            challenges.append((partition, challenge(made, "issued")))
            if number % 2:
                challenges.append((partition, challenge(made, "approved", made.event_time + 60_000)))
                decisions.append((partition, decision(made, "approve", final=True, follows=f"c-t{number}")))
        for _ in range(random.randrange(3)):
            known = START + random.randrange(100) * HOUR
            labels.append((partition, label(made, random.random() < 0.5, known)))
        incidents += [(partition, done) for done in closed_incidents(number, made.account_id, random)]
    return {
        Name.TRANSACTIONS: shuffled(payments, random),
        Name.DECISIONS: shuffled(decisions, random),
        Name.CHALLENGES: shuffled(challenges, random),
        Name.LABELS: shuffled(labels, random),
        Name.INCIDENTS: shuffled(incidents, random),
    }


def closed_incidents(number: int, account: str, random: Random) -> list[ClosedIncident]:
    """Up to two incidents on a payment, the second of which has the account's next payment as well."""
    return [
        ClosedIncident(
            incident_id=100 * times + number,
            account_id=account,
            state="confirmed",
            transaction_ids=[f"t{number}", f"t{number + 5}"][: 1 + times],
            closed_at=START + random.randrange(1_000_000) * 1_000,
        )
        for times in range(random.randrange(3))
    ]


def last_closed(incidents: Iterable[ClosedIncident]) -> dict[str, ClosedIncident]:
    """Return the incident of each transaction that was closed last."""
    closed: dict[str, ClosedIncident] = {}
    for done in incidents:
        for transaction in done.transaction_ids:
            if transaction not in closed or done.closed_at >= closed[transaction].closed_at:
                closed[transaction] = done
    return closed


def joined(logs: dict[Name, Log]) -> dict[str, dict[str, Any]]:
    """The join in plain Python: what `payments` must return, by transaction."""

    def placed(name: Name) -> list[tuple[int, int, Any]]:
        ends: dict[int, int] = {}
        rows = []
        for partition, event in logs[name]:
            rows.append((partition, ends.get(partition, 0), event))
            ends[partition] = ends.get(partition, 0) + 1
        return sorted(rows, key=lambda row: row[:2])

    result: dict[str, dict[str, Any]] = {}
    for _, _, made in placed(Name.TRANSACTIONS):
        assert isinstance(made, Transaction)
        result.setdefault(made.transaction_id, {"amount": made.amount})
    first: dict[str, Decision] = {}
    degraded: dict[str, Decision] = {}
    final: dict[str, Decision] = {}
    for _, _, said in placed(Name.DECISIONS):
        kept = final if said.final is not UNSET and said.final else degraded if said.degraded else first
        kept.setdefault(said.transaction_id, said)
    outcomes: dict[str, Challenge] = {}
    for _, _, asked in placed(Name.CHALLENGES):
        if asked.transaction_id not in outcomes or outcomes[asked.transaction_id].status == "issued" != asked.status:
            outcomes[asked.transaction_id] = asked
    truth: dict[str, Label] = {}
    for _, _, known in placed(Name.LABELS):
        if known.transaction_id not in truth or known.labelled_at >= truth[known.transaction_id].labelled_at:
            truth[known.transaction_id] = known
    closed = last_closed(done for _, _, done in placed(Name.INCIDENTS))
    for name, row in result.items():
        standing = first.get(name, degraded.get(name))
        last = final.get(name, standing)
        row["action"] = standing.action if standing else None
        row["rules"] = standing.rules if standing else None
        row["final_action"] = last.action if last else None
        row["challenge_status"] = outcomes[name].status if name in outcomes else None
        row["fraud"] = truth[name].fraud if name in truth else None
        row["incident_id"] = closed[name].incident_id if name in closed else None
    return result


@pytest.mark.parametrize("seed", range(5))
def test_payments_equal_a_join_in_plain_python(fill: Fill, archive_settings: ArchiveSettings, seed: int) -> None:
    """Whatever the order of arrival, each transaction has one row with its current decision, challenge and label."""
    logs = a_week(Random(seed))  # noqa: S311, made-up payments
    fill(logs)
    with Archive(archive_settings) as archive:
        rows = archive.find(Question(limit=1000)).to_pylist()
    wanted = joined(logs)
    found = {row["transaction_id"]: {name: row[name] for name in wanted["t1"]} for row in rows}
    assert len(rows) == len(found)
    assert found == wanted


def test_compaction_changes_no_answer(fill: Fill, archive_settings: ArchiveSettings) -> None:
    """Merging files leaves every row unchanged, in one file per day."""
    fill(a_week(Random(1)))  # noqa: S311, made-up payments
    with Archive(archive_settings) as archive:
        before = archive.find(Question(limit=1000))
    done = {table.table: table for table in compact(archive_settings, SystemClock(), kept_h=0)}
    assert done[Name.TRANSACTIONS].after == 4 < done[Name.TRANSACTIONS].before
    with Archive(archive_settings) as archive:
        assert archive.find(Question(limit=1000)).equals(before)
    again = {table.table: table for table in compact(archive_settings, SystemClock(), kept_h=0)}
    assert again[Name.TRANSACTIONS].before == again[Name.TRANSACTIONS].after == 4
    assert len(list(Path(archive_settings.url, Name.TRANSACTIONS).glob("day=*/*.parquet"))) == 4


def test_what_is_older_than_the_retention_is_deleted(fill: Fill, archive_settings: ArchiveSettings) -> None:
    """Compaction deletes whole days beyond the retention and nothing else."""

    class Later:
        def now_ms(self) -> int:
            return START + 2 * 24 * HOUR

    fill({Name.TRANSACTIONS: [(0, payment(number)) for number in range(48)]})
    kept = ArchiveSettings(url=archive_settings.url, retention_days=1)
    compact(kept, Later(), kept_h=0)
    with Archive(kept) as archive:
        times = [row["event_time"] for row in archive.find(Question(limit=1000)).to_pylist()]
    assert min(times).isoformat() == "2023-11-15T00:13:20+00:00"
    assert len(times) == 48 - 2


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        (Question(account="a3"), {3, 8, 13, 18}),
        (Question(merchant="m1", account="a1"), {1, 16}),
        (Question(transaction="t7"), {7}),
        (Question(since=START + 18 * HOUR), {18, 19}),
        (Question(until=START + 2 * HOUR), {0, 1}),
        (Question(min_amount=1800, currency="EUR"), {18, 19}),
        (Question(min_amount=0, currency="USD"), set()),
        (Question(action="decline"), {0, 10}),
        (Question(flagged=True), {0, 5, 10, 15}),
        (Question(rule="night"), {5, 15}),
        (Question(min_score=0.9), {0, 10}),
        (Question(fraud=True), {10}),
        (Question(fraud=False), {5}),
        (Question(limit=2), {19, 18}),
        (Question(account="' OR 1=1 --"), set()),
        (Question(payee="nobody"), set()),
    ],
)
def test_a_question_finds_what_it_asks_for(
    fill: Fill, archive_settings: ArchiveSettings, question: Question, wanted: set[int]
) -> None:
    """Each condition, alone and combined, selects exactly the payments that meet it."""
    payments = [payment(number) for number in range(20)]
    actions = {0: "decline", 10: "decline", 5: "review", 15: "review"}
    fill(
        {
            Name.TRANSACTIONS: [(0, made) for made in payments],
            Name.DECISIONS: [
                (
                    0,
                    decision(
                        made,
                        actions.get(number, "approve"),
                        score=0.95 if actions.get(number) == "decline" else 0.1,
                        rules=["night"] if actions.get(number) == "review" else [],
                    ),
                )
                for number, made in enumerate(payments)
            ],
            Name.LABELS: [(0, label(payments[10], True, START)), (0, label(payments[5], False, START))],
        }
    )
    with Archive(archive_settings) as archive:
        found = archive.find(question).to_pylist()
    assert {int(row["transaction_id"][1:]) for row in found} == wanted
    assert [row["event_time"] for row in found] == sorted((row["event_time"] for row in found), reverse=True)


def test_the_history_of_a_payment_has_every_message(fill: Fill, archive_settings: ArchiveSettings) -> None:
    """Repeated and degraded decisions, the challenge and the labels are all there, for each account with that id."""
    made, other = payment(1), payment(1, account_id="other")
    asked = challenge(made, "issued")
    fill(
        {
            Name.TRANSACTIONS: [(0, made), (1, other), (0, payment(2))],
            Name.DECISIONS: [
                (0, decision(made, "review", degraded=True)),
                (0, decision(made, "challenge")),
                (0, decision(payment(2))),
                (0, decision(made, "approve", final=True, follows=asked.challenge_id)),
            ],
            Name.CHALLENGES: [(0, asked), (0, challenge(made, "approved", asked.issued_at + 5))],
            Name.LABELS: [(0, label(made, False, START))],
        }
    )
    with Archive(archive_settings) as archive:
        first, second = sorted(archive.history("t1"), key=lambda history: str(history.payment["account_id"]))
        assert archive.history("t99") == []
    assert [row["action"] for row in first.messages["decisions"]] == ["review", "challenge", "approve"]
    assert [row["status"] for row in first.messages["challenges"]] == ["issued", "approved"]
    assert [row["fraud"] for row in first.messages["labels"]] == [False]
    assert first.payment["final_action"] == "approve"
    assert second.payment["account_id"] == "other"
    assert not any(second.messages.values())


def test_an_amount_needs_its_currency() -> None:
    """Amounts of several currencies cannot be compared, so the question is refused."""
    with pytest.raises(InputError, match="currency"):
        Question(min_amount=100)


def test_where_no_archive_is_the_error_says_how_to_make_one(archive_settings: ArchiveSettings) -> None:
    """A query before anything was archived names the place and the command."""
    with pytest.raises(UnavailableError, match="vedette archive run"):
        Archive(archive_settings)


@pytest.mark.parametrize("later", [True, False])
def test_files_of_several_versions_of_a_table_are_read_together(archive_settings: ArchiveSettings, later: bool) -> None:
    """A column that only some files have is null in the others, whichever file is read first."""
    for table in TABLES:
        TableWriter(f"{archive_settings.url}/{table.topic}", table, table.topic, {})
    paid = payment(1)
    rows, _ = TABLES[0].rows(stored([(0, paid)]))
    TableWriter(f"{archive_settings.url}/transactions", TABLES[0], "transactions", {}).append(rows, {0: 1})
    decisions = TABLES[1]
    writer = TableWriter(f"{archive_settings.url}/decisions", decisions, "decisions", {})
    for offset, with_column in enumerate((not later, later)):
        rows, _ = decisions.rows([stored([(0, decision(paid)), (0, decision(paid))])[offset]])
        writer.append(rows.append_column("novel", pa.array(["new"])) if with_column else rows, {0: offset + 1})
    with Archive(archive_settings) as archive:
        assert archive.find(Question(account="a1"))["action"].to_pylist() == ["approve"]
        (history,) = archive.history("t1")
    assert [row["novel"] for row in history.messages["decisions"]] == ([None, "new"] if later else ["new", None])
