"""The archive's commands as a person runs them."""

import json
from collections.abc import Callable
from math import nan
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from tests.archive.conftest import START, Log, decision, label, payment
from tests.archive.test_features import logged
from vedette.errors import InputError, UnavailableError
from vedette.settings import ArchiveSettings, Settings
from vedette.settings_page import describe
from vedette.topics import Name

_WHY = [{"code": "payments-many", "text": "too fast", "weight": 1.5}, {"code": "rule.x", "text": "odd", "weight": 0}]
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def vedette(tmp_path: Path, archive_settings: ArchiveSettings, fill: Callable[[dict[Name, Log]], None]) -> Run:
    """Runs commands on an archive of ten payments, the third of which was declined and is a fraud."""
    payments = [payment(number) for number in range(10)]
    fill(
        {
            Name.TRANSACTIONS: [(0, made) for made in payments],
            Name.DECISIONS: [
                (
                    0,
                    decision(made, "decline" if number == 3 else "approve", reasons=_WHY if number == 3 else []),
                )
                for number, made in enumerate(payments)
            ],
            Name.LABELS: [(0, label(payments[3], True, START))],
            Name.FEATURES: [
                (0, logged(["hour", "amount_to_balance", "withdrawn", "extra.distance"], [[1, nan, 7, 2.5]] * 10)),
            ],
        }
    )
    file = tmp_path / "vedette.toml"
    file.write_text(describe(Settings(archive=archive_settings)), encoding="utf-8")

    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["--settings", str(file), *arguments])
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, done.stdout

    return run


@pytest.mark.runs("find")
def test_find_prints_a_table(vedette: Run) -> None:
    """Amounts have their currency, labels are words."""
    code, text = vedette("find", "--flagged")
    assert code == 0
    assert "3.00 EUR" in text
    assert "decline" in text
    assert "fraud" in text


def test_find_says_that_there_are_more(vedette: Run) -> None:
    """A limit that cut the result is reported."""
    assert "--limit shows more" in vedette("find", "--limit", "2")[1]
    assert "--limit shows more" not in vedette("find")[1]


@pytest.mark.runs("find", "show", "prove")
def test_nothing_found_is_exit_code_1(vedette: Run) -> None:
    """A script can see that nothing matched."""
    code, text = vedette("find", "--account", "nobody")
    assert code == 1
    assert "no payment" in text
    assert vedette("show", "t99")[0] == 1
    assert vedette("prove", "t99")[0] == 1


def test_find_prints_json_csv_and_parquet(vedette: Run, tmp_path: Path) -> None:
    """Every format has the same payments."""
    _, lines = vedette("find", "--account", "a3", "--json")
    assert [json.loads(line)["transaction_id"] for line in lines.splitlines()] == ["t8", "t3"]
    code, _ = vedette("find", "--account", "a3", "--parquet", str(tmp_path / "found.parquet"))
    assert code == 0
    assert (tmp_path / "found.parquet").stat().st_size > 0
    assert vedette("find", "--account", "a3", "--csv")[1].splitlines()[0].startswith('"transaction_id","account_id"')


def test_find_writes_one_form(vedette: Run) -> None:
    """Two forms at once are refused, rather than one of them left out."""
    with pytest.raises(InputError, match="only one form"):
        vedette("find", "--json", "--csv")


def test_amounts_are_read_in_their_currency(vedette: Run) -> None:
    """`--min-amount 8.00 --currency EUR` means 800 cents."""
    _, lines = vedette("find", "--min-amount", "8.00", "--currency", "EUR", "--json")
    assert {json.loads(line)["amount"] for line in lines.splitlines()} == {800, 900}


@pytest.mark.runs("show")
def test_show_tells_what_became_of_a_payment(vedette: Run) -> None:
    """Decisions with reasons and the label are shown in the order of publication, and the same as JSON."""
    code, text = vedette("show", "t3")
    assert code == 0
    assert text.index("decline (score 0.500)") > text.index("3.00 EUR")
    assert "too fast" in text
    assert "says analyst" in text
    (found,) = json.loads(vedette("show", "t3", "--json")[1])["payments"]
    assert (found["payment"]["action"], len(found["decisions"]), len(found["labels"])) == ("decline", 1, 1)
    assert found["payment"]["reasons"] == ["too fast", "odd"]
    assert found["payment"]["reason_codes"] == ["payments-many", "rule.x"]
    assert found["payment"]["reason_weights"] == [1.5, 0.0]


def test_payments_are_found_by_the_code_of_a_reason(vedette: Run) -> None:
    """Codes are stable, so they are what to search for; the CSV has them as text."""
    _, lines = vedette("find", "--reason", "payments-many", "--json")
    assert [json.loads(line)["transaction_id"] for line in lines.splitlines()] == ["t3"]
    assert "payments-many; rule.x" in vedette("find", "--reason", "rule.x", "--csv")[1]
    assert vedette("find", "--reason", "none-such")[0] == 1


def test_show_has_every_feature_with_its_meaning(vedette: Run) -> None:
    """This includes missing values, columns that only the model uses, and features no longer in the catalogue."""
    (found,) = json.loads(vedette("show", "t3", "--json")[1])["payments"]
    features = {feature.pop("name"): feature for feature in found["features"]}
    assert features["hour"] == {"value": 1.0, "unit": "hours", "meaning": "hour of the day, UTC"}
    assert features["amount_to_balance"]["value"] is None
    assert features["withdrawn"]["meaning"] == "not in this version's catalogue"
    assert (features["extra.distance"]["value"], len(features)) == (2.5, 4)
    text = vedette("show", "t3")[1]
    assert "hour of the day, UTC" in text
    assert "missing" in text


@pytest.mark.runs("archive compact")
def test_compact_says_what_it_did(vedette: Run) -> None:
    """Files before and after, per table."""
    code, text = vedette("archive", "compact")
    assert code == 0
    assert "transactions: 3 files -> 2" in text
    tables = json.loads(vedette("archive", "compact", "--json")[1])["tables"]
    assert {table["table"] for table in tables} == {
        "transactions", "decisions", "labels", "alerts", "challenges", "calls", "features", "control", "incidents"
    }  # fmt: skip


@pytest.mark.runs("archive export")
def test_export_writes_every_table(vedette: Run, tmp_path: Path) -> None:
    """Rows by table; a period without payments is exit code 1."""
    code, text = vedette("archive", "export", str(tmp_path / "bi"), "--json")
    assert (code, json.loads(text)["rows"]["payments"]) == (0, 10)
    assert (tmp_path / "bi" / "star.duckdb").exists()
    assert vedette("archive", "export", str(tmp_path / "bi"), "--to", "2000-01-01")[0] == 1


@pytest.mark.parametrize(
    "command", [("archive", "compact"), ("archive", "export", "bi"), ("find",), ("show", "t1"), ("prove", "t1")]
)
def test_where_no_archive_is_commands_say_how_to_make_one(command: tuple[str, ...], tmp_path: Path) -> None:
    """The error names the place and the command that writes an archive, whatever is asked of it."""
    file = tmp_path / "vedette.toml"
    file.write_text(describe(Settings(archive=ArchiveSettings(url=str(tmp_path / "none")))), encoding="utf-8")
    with pytest.raises(UnavailableError, match=rf"there is no archive at {tmp_path}.*vedette archive run"):
        CliRunner().invoke(app, ["--settings", str(file), *command], catch_exceptions=False)
