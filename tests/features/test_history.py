"""Sorting history, and the resulting frame."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from features.backfill import Backfill, backfill
from features.catalogue import catalogue_hash
from features.frame import HASH, write_frame
from features.history import opened
from producers.simulation import Simulation
from producers.simulator import simulate
from vedette.errors import InputError

SIMULATION = Simulation(customers=120, terminals=60, days=15, seed=3, returns=0)


@pytest.fixture(scope="module")
def ordered() -> pa.Table:
    """Simulated payments in order of event time."""
    return pa.Table.from_batches(simulate(SIMULATION)).combine_chunks()


@pytest.fixture(scope="module")
def shuffled(ordered: pa.Table) -> pa.Table:
    """The same in random order."""
    return ordered.take(np.random.default_rng(1).permutation(len(ordered)))


def read(batches: list[pa.RecordBatch], scratch: Path, labels: Path | None = None) -> pa.Table:
    """Return the sorted history."""
    with opened(batches, scratch, labels=labels) as history:
        return pa.Table.from_batches(history.in_order())


def same(one: pa.Table, other: pa.Table) -> bool:
    """Whether two tables have the same values in the same order, including missing ones."""
    return bool(one.to_pandas().equals(other.to_pandas()))


def by_id(table: pa.Table) -> pa.Table:
    """Return a table in the order of its transaction ids."""
    return table.sort_by("transaction_id")


def test_disorder_makes_no_difference(ordered: pa.Table, shuffled: pa.Table, tmp_path: Path) -> None:
    """Whatever the order of the payments in the file, they are returned by event time, each once."""
    found = read(shuffled.to_batches(max_chunksize=100), tmp_path)
    assert found.column("event_time").to_pylist() == ordered.column("event_time").to_pylist()
    assert same(by_id(found), by_id(ordered))


def test_ties_keep_the_order_of_the_file(ordered: pa.Table, tmp_path: Path) -> None:
    """Payments of one moment keep the order of the file, however it is split into batches."""
    column = ordered.schema.names.index("event_time")
    tied = ordered.set_column(column, ordered.schema.field(column), pa.array(np.arange(len(ordered)) % 5))
    assert same(read(tied.to_batches(max_chunksize=7), tmp_path), tied.sort_by("event_time"))


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_labels_of_their_own_take_the_place_of_those_in_the_file(ordered: pa.Table, tmp_path: Path, kind: str) -> None:
    """The last row of a file of labels says what is fraud and since when; other payments keep their own labels."""
    some = ordered.slice(0, 50)
    flipped = [not fraud for fraud in some.column("fraud").to_pylist()]
    rows = {"transaction_id": some.column("transaction_id"), "fraud": flipped, "labelled_at": list(range(50))}
    labels = pa.table(rows)
    earlier = labels.set_column(2, "labelled_at", pa.array([-1] * 50)).set_column(1, "fraud", some.column("fraud"))
    written = pa.concat_tables([labels, earlier])
    path = tmp_path / f"labels.{kind}"
    match kind:
        case "parquet":
            pq.write_table(written, path)
        case "csv":
            pa_csv.write_csv(written, path)
        case _:
            path.write_text("\n".join(json.dumps(row) for row in written.to_pylist()), encoding="utf-8")
    found = by_id(read(ordered.to_batches(), tmp_path, path).select(list(rows)))
    expected = pa.concat_tables([labels, ordered.slice(50).select(list(rows)).cast(labels.schema)])
    assert same(found, by_id(expected))


def test_columns_beside(ordered: pa.Table, tmp_path: Path) -> None:
    """Additional columns are joined to the transactions they belong to, the first of several; null for the others."""
    first = ordered.column("transaction_id").slice(0, 9).combine_chunks()
    again = {"transaction_id": pa.concat_arrays([first, first]), "mark": list(range(18)), "row": list(range(18))}
    known = pa.table(again).take([*range(17, 8, -1), *range(9)])
    with opened(ordered.to_batches(), tmp_path, beside=known.to_reader()) as history:
        found = by_id(pa.Table.from_batches(history.in_order()))
    marks = {row["transaction_id"]: row["mark"] for row in found.to_pylist()}
    assert marks == dict.fromkeys(ordered.column("transaction_id").to_pylist()) | dict(
        zip(first.to_pylist(), range(9), strict=True)
    )
    assert same(found.drop_columns(["mark"]), by_id(ordered))


def test_files_without_labels_are_refused(ordered: pa.Table, tmp_path: Path) -> None:
    """A file of labels that is missing, lacks a column or is invalid is refused by its name."""
    batches = ordered.to_batches()
    path = tmp_path / "labels.parquet"
    with pytest.raises(InputError, match=r"labels\.parquet has no labels"):
        read(batches, tmp_path, path)
    pq.write_table(pa.table({"transaction_id": ["a"], "fraud": [True]}), path)
    with pytest.raises(InputError, match=r"labels\.parquet has no labels"):
        read(batches, tmp_path, path)
    with pytest.raises(InputError, match="the kind of this file is unknown"):
        read(batches, tmp_path, tmp_path / "labels.txt")


def test_what_goes_wrong_while_reading_is_told_as_it_was(ordered: pa.Table, tmp_path: Path) -> None:
    """An error that the file's reader raises half-way reaches the caller unchanged."""

    def damaged() -> Iterator[pa.RecordBatch]:
        yield from ordered.to_batches(max_chunksize=100)[:3]
        raise InputError("the file is damaged in row group 3")

    with pytest.raises(InputError, match="damaged in row group 3"), opened(damaged(), tmp_path) as history:
        list(history.in_order())


def test_nothing_is_no_history(tmp_path: Path) -> None:
    """Without a transaction there is nothing to compute."""
    with pytest.raises(InputError, match="there are no transactions"):
        read([], tmp_path)


def test_the_frame_has_all_features_and_says_which(ordered: pa.Table, shuffled: pa.Table, tmp_path: Path) -> None:
    """The frame of shuffled payments has the bits of a backfill of ordered ones, and names its catalogue."""
    path = tmp_path / "new" / "frame.parquet"
    with opened(shuffled.to_batches(max_chunksize=500), tmp_path) as history:
        rows = write_frame(path, backfill(history.in_order()))
    frame = pq.read_table(path)
    expected = pa.Table.from_batches(backfill(ordered.to_batches()))
    assert rows == len(ordered)
    assert frame.schema.metadata[HASH] == catalogue_hash().encode()
    assert same(by_id(frame), by_id(expected))


def test_a_frame_is_written_whole_or_not_at_all(ordered: pa.Table, tmp_path: Path) -> None:
    """When reading ends in an error, no frame is left, not even a partial one."""

    def disordered() -> Iterator[pa.RecordBatch]:
        yield from backfill([*ordered.to_batches(), *ordered.to_batches()], Backfill())

    with pytest.raises(InputError, match="not in order"):
        write_frame(tmp_path / "frame.parquet", disordered())
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        write_frame(tmp_path / "file" / "frame.parquet", backfill(ordered.to_batches()))
