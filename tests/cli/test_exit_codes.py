from pathlib import Path

import msgspec
import pytest
import typer.main

from cli.main import app
from tests.cli.conftest import Run
from tests.conftest import ROOT
from vedette import Transaction
from vedette.events import MIN_TIME

HEADER = "TRANSACTION_ID,TX_DATETIME,CUSTOMER_ID,TERMINAL_ID,TX_AMOUNT,TX_FRAUD,TX_FRAUD_SCENARIO\n"
GOOD = "1,2018-04-01 00:00:31,596,3156,57.16,1,1\n"
BAD = "2,2018-04-01 00:00:32,596,3156,much,0,0\n"


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (HEADER + GOOD, 0, "sent 1 transactions"),
        (HEADER + GOOD + BAD, 0, "1 rows were rejected"),
        (HEADER + BAD, 1, "no transaction was sent"),
        (HEADER, 1, "no transaction was sent"),
        ("", 2, "has no header line"),
    ],
)
def test_a_replay_that_sends_nothing_is_not_a_success(
    vedette: Run, tmp_path: Path, content: str, code: int, said: str
) -> None:
    """When everything is rejected or there is nothing, it ends with 1; a file without even a header is an error."""
    (tmp_path / "x.csv").write_text(content, encoding="utf-8")
    done = vedette("replay", "x.csv", "--mapping", "handbook", "--no-progress")
    assert done.returncode == code, done.stderr
    assert said in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["backfill", "x.csv", "--mapping", "handbook", "--output", "f.parquet"], 2, "there are no transactions"),
        (["check", "x.csv", "--mapping", "handbook"], 2, "no row could be read, 1 were left out"),
        (["score", "x.csv", "--mapping", "handbook"], 1, "no payment was scored"),
        (["dlq", "replay"], 1, "there is no such dead letter"),
        (["dlq", "replay", "--reason", "never said", "--dry-run", "--json"], 1, "there is no such dead letter"),
        (["whatif", "--json"], 2, "there are no transactions"),
    ],
)
def test_a_command_with_nothing_to_process_is_not_a_success(
    vedette: Run, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    """Standard error says what was missing."""
    (tmp_path / "x.csv").write_text(HEADER + BAD, encoding="utf-8")
    done = vedette(*arguments)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_standard_input_names_the_line_that_is_refused(vedette: Run) -> None:
    """Events of standard input are checked as those of the topic are; a byte order mark and blank lines are skipped."""
    payment = Transaction(
        transaction_id="t", account_id="a", amount=1, currency="EUR", event_time=MIN_TIME, merchant_id="m"
    )
    good = msgspec.json.encode(payment).decode()
    assert vedette("score", "-", given="\ufeff" + good + "\n\n").returncode == 0
    for field, said in (("currency", "$.currency"), ("merchant_id", "neither `merchant_id` nor `payee`")):
        done = vedette("score", "-", given=f"{good}\n\n{good.replace(field, 'x')}\n")
        assert done.returncode == 2
        assert "line 3 of standard input" in done.stderr
        assert said.partition("$.")[2] in done.stderr


def test_a_list_that_is_empty_is_a_success(vedette: Run) -> None:
    """A list without dead letters is good news."""
    assert vedette("dlq", "list").returncode == 0


def test_the_page_names_every_command_that_processes_something() -> None:
    """Somebody who adds a command has to document its exit codes."""
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    silent = {"schema", "settings", "identity", "worker", "backfill", "demo"}
    root = typer.main.get_command(app)
    commands = set(root.commands) - silent  # type: ignore[attr-defined]
    assert not [name for name in sorted(commands) if f"`{name}" not in page]
