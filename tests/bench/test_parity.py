"""Parity through a real broker, worker and Redis."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.measurement import Setup
from bench.parity import verify_through_stream
from features.backfill import Backfill
from features.catalogue import NAMES
from features.parity import PUBLISHED
from producers.simulation import Simulation
from producers.simulator import simulate
from tests.conftest import missing
from vedette import VedetteError
from vedette.clock import HOUR
from vedette.errors import UnavailableError


@pytest.fixture(scope="module")
def payments() -> pa.RecordBatch:
    """Simulated payments with frauds over the full length of the windows, many of an account at the same moment."""
    whole = pa.Table.from_batches(
        simulate(Simulation(customers=60, terminals=20, days=40, seed=9, returns=0))
    ).combine_chunks()
    column = whole.schema.names.index("event_time")
    time = whole.column("event_time").to_numpy() // (6 * HOUR) * 6 * HOUR
    whole = whole.set_column(column, whole.schema.field(column), pa.array(time))
    known = whole.schema.names.index("labelled_at")  # published features know every fraud after their delay
    return whole.set_column(known, whole.schema.field(known), pa.array(time)).to_batches()[0]


@pytest.fixture
def golden(payments: pa.RecordBatch, tmp_path: Path) -> Path:
    """What the offline kernel computes for them, from the thousandth on, published."""
    features = dict(zip(NAMES, Backfill().advance(payments).T, strict=True))
    columns = {"TRANSACTION_ID": payments.column("transaction_id")}
    columns |= {column: pa.array(features[name]) for column, name in PUBLISHED.items()}
    pq.write_table(pa.table(columns).slice(1000), tmp_path / "golden.parquet")
    return tmp_path / "golden.parquet"


@pytest.mark.servers
def test_the_stream_computes_what_is_published(payments: pa.RecordBatch, golden: Path, tmp_path: Path) -> None:
    """Four partitions give every published value but the changed one, with ties and delayed merchant features."""
    table = pq.read_table(golden)
    assert max(table.column("TERMINAL_ID_RISK_7DAY_WINDOW").to_pylist()) > 0
    nights = table.column("TX_DURING_NIGHT").to_pylist()
    nights[7] += 1
    position = table.schema.names.index("TX_DURING_NIGHT")
    pq.write_table(table.set_column(position, "TX_DURING_NIGHT", [nights]), golden)
    backwards = np.arange(len(payments))[::-1]
    order = backwards[np.argsort(payments.column("event_time").to_numpy()[backwards], kind="stable")]
    published: list[int] = []
    try:
        report = verify_through_stream(
            golden, [payments.take(pa.array(order))], Setup(tmp_path / "stack", "embedded", "embedded"),
            on_published=published.append,
        )  # fmt: skip
    except UnavailableError as error:
        missing(error)
    assert (report.rows, report.columns, report.mismatches) == (len(payments) - 1000, 14, 1)
    assert (report.first[0].feature, report.first[0].published) == ("is_night", nights[7])
    assert published[-1] == len(payments)


@pytest.mark.servers
def test_what_the_worker_sets_aside_is_an_error(payments: pa.RecordBatch, golden: Path, tmp_path: Path) -> None:
    """A transaction that ends in the dead-letter topic is reported with the reason, not counted as a mismatch."""
    nowhere = pa.array([None, *payments.column("merchant_id").to_pylist()[1:]], pa.string())
    columns = {name: payments.column(name) for name in payments.schema.names}
    columns |= {"merchant_id": nowhere, "payee": pa.nulls(len(payments), pa.string())}
    poison = pa.RecordBatch.from_pydict(columns)
    try:
        with pytest.raises(VedetteError, match="neither `merchant_id` nor `payee` is given"):
            verify_through_stream(golden, [poison], Setup(tmp_path / "stack", "embedded", "embedded"))
    except UnavailableError as error:
        missing(error)
