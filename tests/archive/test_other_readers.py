"""The archive's tables, read without Vedette: by Delta Kernel in Java, and by DuckDB alone."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from deltalake import DeltaTable

from archive.tables import TABLES
from tests.archive.conftest import START, Log, challenge, decision, label, payment
from tests.archive.test_features import logged
from tests.conftest import missing
from vedette.errors import UnavailableError
from vedette.settings import ArchiveSettings
from vedette.topics import Name

KERNEL = Path(__file__).parent / "delta_kernel"
JARS = Path.home() / ".cache" / "vedette" / "delta-kernel-4.0.0"
PAYMENTS = [payment(number, extra={"distance": 1.5}) for number in range(100)]


@pytest.fixture
def filled(archive_settings: ArchiveSettings, fill: Callable[[dict[Name, Log]], None]) -> ArchiveSettings:
    """An archive with rows of several days in every kind of table, some files of which were merged."""
    fill(
        {
            Name.TRANSACTIONS: [(made.event_time % 3, made) for made in PAYMENTS],
            Name.DECISIONS: [
                (0, decision(made, reasons=[{"code": "c", "text": "é", "weight": 1}])) for made in PAYMENTS
            ],
            Name.LABELS: [(0, label(made, True, START)) for made in PAYMENTS[:10]],
            Name.CHALLENGES: [(0, challenge(made, "issued")) for made in PAYMENTS[:5]],
            Name.FEATURES: [(0, logged(["hour", "extra.distance"], [[1, 2.5]] * 10))],
        }
    )
    DeltaTable(f"{archive_settings.url}/transactions").optimize.compact()
    return archive_settings


def expected(settings: ArchiveSettings) -> dict[str, tuple[int, int]]:
    """Rows and the sum of the offsets of each table, as Vedette's library reads them."""
    found = {}
    for table in TABLES:
        offsets = DeltaTable(f"{settings.url}/{table.topic}").to_pyarrow_table(columns=["kafka_offset"])["kafka_offset"]
        found[table.topic.value] = len(offsets), sum(offsets.to_pylist())
    return found


@pytest.mark.slow
def test_java_reads_the_same_rows(filled: ArchiveSettings) -> None:
    """Delta Kernel, the reader of Delta's connectors, finds every row of every table with all its columns."""
    if not any(JARS.glob("delta-kernel-defaults-*.jar")) or not shutil.which("javac"):
        missing(UnavailableError("Delta Kernel or javac is missing", remedy="run scripts/install-test-deps"))
    folders = [f"{filled.url}/{table.topic}" for table in TABLES]
    command = ["java", "-cp", f"{JARS}/*", str(KERNEL / "CountRows.java"), *folders]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = {name: (int(rows), int(offsets)) for name, rows, offsets in map(str.split, done.stdout.splitlines())}
    assert found == expected(filled)
    assert found["transactions"][0] == len(PAYMENTS)


def test_duckdb_alone_reads_the_same_rows(filled: ArchiveSettings) -> None:
    """Where nothing was merged or deleted, the files of a table are its rows."""
    for name, (rows, offsets) in expected(filled).items():
        if not rows or name == "transactions":  # it still has the files that were merged
            continue
        files = f"{filled.url}/{name}/**/*.parquet"
        query = f"SELECT count(*), sum(kafka_offset) FROM read_parquet('{files}', union_by_name = true)"  # noqa: S608, a folder of this test
        assert duckdb.sql(query).fetchall() == [(rows, offsets)], name
