"""The archive as a source: the same answers as from a file of the same payments, from the files of the needed days."""

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pandas.testing import assert_frame_equal
from typer.testing import CliRunner

from archive.service import location
from archive.tables import TABLES
from archive.writer import TableWriter
from cli.main import app
from decisions.strategy import Strategy
from features.backfill import Backfill
from models.file_names import SETTLED_MODEL
from producers.frame import rows_to_labels, rows_to_transactions
from producers.simulation import Simulation
from producers.simulator import simulate
from tests.streams.feed import Record
from vedette.clock import DAY, format_time
from vedette.settings import ArchiveSettings, DecisionSettings, Settings
from vedette.settings_page import describe
from vedette.topics import Name

SIMULATION = Simulation(
    customers=250, terminals=200, days=38, seed=5, returns=0.1,
    scenarios={"large_amount": 4, "compromised_terminal": 0.3, "landlord": 5},
)  # fmt: skip
Run = Callable[..., str]


@pytest.fixture(scope="module")
def payments() -> pa.Table:
    """Simulated payments, in order of event time."""
    return pa.Table.from_batches(simulate(SIMULATION))


@pytest.fixture(scope="module")
def archived(payments: pa.Table, strategy: Strategy, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Their archive, in another order, with the labels of frauds and a decision on each payment."""
    settings = Settings(
        archive=ArchiveSettings(url=str(tmp_path_factory.mktemp("archive"))),
        decisions=DecisionSettings(model=str(SETTLED_MODEL)),
    )
    batch = payments.combine_chunks().to_batches()[0]
    features = Backfill().advance(batch)
    decided = strategy.decide(
        batch, strategy.evaluate(batch, features, [{}] * len(batch)), pa.array(range(len(batch))).to_numpy(),
        degraded=False,
    )  # fmt: skip
    events = {
        Name.TRANSACTIONS: [msgspec.json.encode(one) for one in rows_to_transactions(batch)],
        Name.LABELS: [msgspec.json.encode(one) for one in rows_to_labels(batch, "simulator")],
        Name.DECISIONS: decided.messages,
    }
    for table in TABLES:
        writer = TableWriter(location(settings.archive, table), table, table.topic, {})
        found = events.get(table.topic, [])
        # Two partitions, the second of which arrives first.
        messages = [Record(None, value, (place + 1) % 2, place // 2) for place, value in enumerate(found)]
        for part in (messages[1::2], messages[::2]):
            rows, rejected = table.rows(part)
            assert not rejected
            writer.append(rows, {})
    return settings


@pytest.fixture
def vedette(archived: Settings, tmp_path: Path) -> Run:
    """Runs commands beside that archive; returns what they print."""
    file = tmp_path / "vedette.toml"
    file.write_text(describe(archived), encoding="utf-8")

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["--settings", str(file), *arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.stdout
        return done.stdout

    return run


def test_a_backfill_gives_the_same_features(vedette: Run, payments: pa.Table, tmp_path: Path) -> None:
    """A file of the payments and their archive give the same frame, bit for bit."""
    known = payments
    for name in ("fraud", "labelled_at"):  # the archive has the labels of frauds alone
        values = pc.if_else(payments["fraud"], payments[name], None)
        known = known.set_column(known.column_names.index(name), payments.schema.field(name), values)
    pq.write_table(known, tmp_path / "payments.parquet")
    vedette("backfill", str(tmp_path / "payments.parquet"), "--output", str(tmp_path / "file.parquet"))
    vedette("backfill", "--archive", "--output", str(tmp_path / "archive.parquet"))
    expected, found = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("file", "archive"))
    expected = expected.drop_columns(["scenario"])
    assert_frame_equal(found.select(expected.column_names).to_pandas(), expected.to_pandas(), check_exact=True)
    assert 0 < len(found) < len(payments), "refunds are no payments"


@pytest.mark.slow
def test_training_gives_the_same_model(vedette: Run, payments: pa.Table, tmp_path: Path) -> None:
    """A payment that nobody has reported counts as honest; the booster is the same to the byte."""
    pq.write_table(payments, tmp_path / "payments.parquet")
    models = []
    for name, source in (
        ("file", (str(tmp_path / "payments.parquet"), "--mapping", "vedette")),
        ("archive", ("--archive",)),
    ):
        folder = tmp_path / name
        vedette("train", *source, "--output", str(folder), "--set", "trees=5")
        models.append((folder / "model.txt").read_bytes())
    assert models[0] == models[1]


def test_a_what_if_reads_only_the_days_that_it_needs(vedette: Run, archived: Settings, payments: pa.Table) -> None:
    """The same model and policy change nothing; the files of other days may be gone, and the figures are the same."""
    since, until = (SIMULATION.start + day * DAY for day in (20, 30))
    span = ("--from", format_time(since)[:10], "--to", format_time(until)[:10])
    everything = json.loads(vedette("whatif", "--archive", *span, "--json"))
    inside = [row for row in payments.select(["event_time", "kind"]).to_pylist() if since <= row["event_time"] < until]
    assert everything["result"]["transactions"] == sum(row["kind"] is None for row in inside)
    assert everything["result"]["changed"] == 0
    assert everything["result"]["undecided"] == 0
    assert everything["result"]["frauds"] > 0

    warm = json.loads(vedette("whatif", "--archive", *span, "--warm-up", "5d", "--json"))
    needed = {format_time(since + day * DAY)[:10] for day in range(-5, 10)}
    gone = 0
    for file in Path(archived.archive.url).glob("*/day=*/*.parquet"):
        if file.parent.name.removeprefix("day=") not in needed:
            file.unlink()
            gone += 1
    assert gone
    assert json.loads(vedette("whatif", "--archive", *span, "--warm-up", "5d", "--json")) == warm
