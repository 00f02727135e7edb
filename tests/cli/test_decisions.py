import json
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner

from adapters.kafka_client import client_config
from cli.main import app
from vedette.errors import InputError
from vedette.events import Decision
from vedette.settings import Settings
from vedette.settings_page import describe
from vedette.topics import Name

BASE = Decision(
    transaction_id="t1", account_id="a1", event_time=1_700_000_000_000, amount=12_345, currency="EUR",
    action="approve", score=0.01, expected_loss=1, reasons=[], rules=[], model="m@00000001", policy="p@1",
    features_hash="0" * 16,
)  # fmt: skip


@pytest.fixture
def run(settings: Settings, tmp_path: Path) -> "Run":
    """Runs `vedette decisions` on a topic with five messages about three transactions."""
    change = msgspec.structs.replace
    decisions = [
        change(BASE, degraded=True, action="review"),
        change(BASE, rules=["large"]),
        change(BASE, transaction_id="t2", account_id="a2", event_time=BASE.event_time + 1, action="challenge",
               score=0.6, reasons=["new device"]),
        change(BASE, transaction_id="t2", account_id="a2", event_time=BASE.event_time + 1, action="decline",
               score=0.6, final=True, follows="c1"),
        change(BASE, transaction_id="t3", event_time=BASE.event_time + 2, degraded=True, action="review", score=0.4),
    ]  # fmt: skip
    producer = Producer(client_config(settings.kafka))
    for decision in decisions:
        producer.produce(settings.topics.prefix + Name.DECISIONS, msgspec.json.encode(decision), partition=0)
    assert producer.flush(30) == 0
    file = tmp_path / "vedette.toml"
    file.write_text(describe(settings), encoding="utf-8")
    return Run(file)


class Run:
    """The command with the settings of a test."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __call__(self, *arguments: str) -> str:
        """Return what the command prints."""
        call = ("--settings", str(self._file), "decisions", *arguments)
        result = CliRunner().invoke(app, call, catch_exceptions=False)
        assert result.exit_code == 0
        return result.output

    def listed(self, *arguments: str) -> list[tuple[str, str]]:
        """Return transaction and action of each listed decision."""
        lines = [json.loads(line) for line in self("list", "--json", *arguments).splitlines() if line.startswith("{")]
        return [(line["transaction_id"], line["action"]) for line in lines]


@pytest.mark.runs("decisions list")
def test_the_standing_decision_of_each_transaction_is_listed(run: Run) -> None:
    """The final decision precedes the first, and a regular one that without history; filters combine."""
    assert run.listed() == [("t3", "review"), ("t2", "decline"), ("t1", "approve")]
    assert run.listed("--flagged", "--min-score", "0.5") == [("t2", "decline")]
    assert run.listed("--account", "a1", "--rule", "large") == [("t1", "approve")]
    assert run.listed("--action", "challenge") == []
    assert "1 of 3 decisions; --limit shows more" in run("list", "--limit", "1")
    table = run("list")
    assert "123.45 EUR" in table
    assert "decline (final)" in table
    assert "review (degraded)" in table


@pytest.mark.runs("decisions show")
def test_one_decision_is_shown_with_all_its_fields(run: Run) -> None:
    """The decision on a transaction is printed in full; an unknown transaction is an error."""
    shown = json.loads(run("show", "t2"))
    assert (shown["action"], shown["final"], shown["follows"]) == ("decline", True, "c1")
    with pytest.raises(InputError, match="no decision on 'nowhere'"):
        run("show", "nowhere")
