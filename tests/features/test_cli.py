"""`vedette features` as a whole."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.catalogue import NAMES
from features.reference import reference
from tests.command import Done, vedette
from vedette.clock import format_time, parse_time


def features(*arguments: str) -> Done:
    """Run `vedette features` to its end."""
    return vedette("features", *arguments)


def test_list() -> None:
    """`list` has every feature, as a table and as JSON."""
    assert [feature["name"] for feature in json.loads(features("list", "--json").stdout)] == list(NAMES)
    printed = features("list").stdout
    assert all(name in printed for name in NAMES)


def test_show() -> None:
    """`show` prints everything about one feature, and a misspelt name gives one sentence and exit code 2."""
    shown = json.loads(features("show", "account_count_1d", "--json").stdout)
    assert (shown["name"], shown["unit"], shown["window"]) == ("account_count_1d", "payments", "1d")
    assert "number of the account's payments" in features("show", "account_count_1d").stdout
    wrong = features("show", "account_count_2d")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("vedette: there is no feature 'account_count_2d'")


def test_docs() -> None:
    """`docs` prints the page."""
    assert features("docs").stdout == reference()


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Two files of transactions in the handbook's form, and the published night flags of the second."""
    start = parse_time("2018-08-01")
    names = []
    for part in range(2):
        times = [start + (24 * part + hour) * 3_600_000 for hour in range(24)]
        columns = {
            "TRANSACTION_ID": [24 * part + i for i in range(24)],
            "TX_DATETIME": [format_time(time) for time in times],
            "CUSTOMER_ID": [i % 3 for i in range(24)],
            "TERMINAL_ID": [i % 2 for i in range(24)],
            "TX_AMOUNT": [i + 0.25 for i in range(24)],
            "TX_FRAUD": [0] * 24,
            "TX_FRAUD_SCENARIO": [0] * 24,
        }
        pq.write_table(pa.table(columns), tmp_path / f"{part}.parquet")
        names.append(str(tmp_path / f"{part}.parquet"))
    nights = [1 if hour <= 6 else 0 for hour in range(24)]
    golden = pa.table(
        {
            "TRANSACTION_ID": list(range(24, 48)),
            "TX_DURING_NIGHT": nights,
            "CUSTOMER_ID_NB_TX_1DAY_WINDOW": [8] * 24,
        }
    )
    pq.write_table(golden, tmp_path / "golden.parquet")
    return [str(tmp_path / "golden.parquet"), *(part for name in names for part in ("--transactions", name))]


@pytest.mark.runs("features verify")
def test_verify(files: list[str]) -> None:
    """`verify` takes several files of transactions, counts rows, columns and mismatches, and exits with 0."""
    done = features("verify", *files, "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"rows": 24, "columns": 2, "mismatches": 0})
    assert features("verify", *files).stdout == "24 rows, 2 columns, 0 mismatches\n"


def test_verify_tells_what_differs(files: list[str]) -> None:
    """A mismatch is printed in full, and the exit code is 1."""
    table = pq.read_table(files[0])
    pq.write_table(table.set_column(1, "TX_DURING_NIGHT", pa.array([0] * 24)), files[0])
    done = features("verify", *files, "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["mismatches"]) == (1, 7)
    assert report["first"][0] == {
        "transaction_id": "24",
        "column": "TX_DURING_NIGHT",
        "feature": "is_night",
        "published": 0.0,
        "computed": 1.0,
    }
    assert "is_night" in features("verify", *files).stdout


def test_verify_refuses_rows_that_do_not_fit(files: list[str]) -> None:
    """A transaction that cannot be read would corrupt all later features: it is named, and the exit code is 2."""
    table = pq.read_table(files[2])
    amounts = pa.array([float("nan")] + [1.0] * 23)
    pq.write_table(table.set_column(table.schema.names.index("TX_AMOUNT"), "TX_AMOUNT", amounts), files[2])
    done = features("verify", *files)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("vedette: row 1, column TX_AMOUNT: ")
