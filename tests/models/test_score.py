import json
from bisect import bisect_left
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cli.main import app
from vedette.clock import DAY
from vedette.errors import InputError

ROOT = Path(__file__).parents[2]
DEMO = ("--model", str(ROOT / "models/demo"))


def run(*arguments: str, given: str = "") -> list[Any]:
    """Run a command with --json and return the objects it printed."""
    result = CliRunner().invoke(app, [*arguments, "--json"], input=given, catch_exceptions=False)
    assert result.exit_code == 0
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def payments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three weeks of simulated payments."""
    file = tmp_path_factory.mktemp("score") / "payments.parquet"
    run(
        "simulate",
        "--customers",
        "60",
        "--days",
        "21",
        "--seed",
        "5",
        "--returns",
        "0",
        "--output",
        str(file),
        "--no-progress",
    )
    return file


def test_a_file_is_scored_with_reasons(payments: Path, tmp_path: Path) -> None:
    """Every payment has a score, the flagged ones and no others have reasons, and frauds score higher."""
    output = tmp_path / "scores.parquet"
    *rows, summary = run("score", str(payments), *DEMO, "--output", str(output))
    truth = pq.read_table(payments)
    truth = truth.filter(pc.is_null(truth["kind"]))  # refunds and reversals are not scored
    assert [row["transaction_id"] for row in rows] == truth["transaction_id"].to_pylist()
    assert summary["transactions"] == len(rows)
    assert summary["flagged"] == sum(row["score"] >= summary["threshold"] for row in rows) > 0
    explained = [bool(row["reasons"]) for row in rows if row["flagged"]]
    assert sum(explained) > 0.8 * len(explained)  # of the others nothing is unusual by itself
    assert not any(row["reasons"] for row in rows if not row["flagged"])
    frauds = [row["score"] for row, fraud in zip(rows, truth["fraud"].to_pylist(), strict=True) if fraud]
    honest = sorted(row["score"] for row, fraud in zip(rows, truth["fraud"].to_pylist(), strict=True) if not fraud)
    higher = sum(bisect_left(honest, score) for score in frauds)
    assert higher > 0.9 * len(frauds) * len(honest)
    assert pq.read_table(output)["score"].to_pylist() == [row["score"] for row in rows]


def test_history_counts_for_a_single_payment(payments: Path) -> None:
    """A payment from standard input is scored as a new account's first, or with the history that is given."""
    last = pq.read_table(payments).to_pylist()[-1]
    payment = {name: last[name] for name in ("account_id", "currency", "merchant_id")}
    payment |= {"transaction_id": "t1", "amount": 90_000, "event_time": last["event_time"] + DAY // 24}
    alone, _ = run("score", "-", *DEMO, "--explain", "all", given=json.dumps(payment))
    known, summary = run(
        "score", "-", *DEMO, "--history", str(payments), "--explain", "all", given=json.dumps(payment)
    )  # fmt: skip
    assert alone["score"] != known["score"]
    assert known["reasons"] != alone["reasons"]
    assert summary["importance"][0]["fraction"] > 0


def test_what_is_no_transaction_is_said(payments: Path) -> None:
    """A line that is not a transaction, and a missing version, are refused with a remedy."""
    with pytest.raises(InputError, match="amount"):
        run("score", "-", *DEMO, given='{"transaction_id": "t1", "account_id": "a"}')
    with pytest.raises(InputError, match="no mapping"):
        run("score", str(payments), *DEMO, "--mapping", "none-such")
