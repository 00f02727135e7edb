"""The data of a comparison as a frame whose matrix stays on disk, and the cases that are cut from it."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from adapters.files import atomic_file
from models.compare.spec import TableColumns
from models.frame import Frame, collect, with_extra
from models.protocol import Protocol, folds
from vedette.clock import DAY
from vedette.errors import InputError

TABLES = ("account", "event_time", "amount", "fraud", "labelled_at")
MATRIX, NAMES = "matrix.f64", "names.txt"

SCENARIO = "scenario"
"""Column and group: how a fraud was committed; empty for an honest payment."""


@dataclass(frozen=True)
class Case:
    """One training and its test.

    Attributes:
        name: The day on which training starts, or a description of the case.
        frame: All rows.
        training: Rows that may be trained on, however far back.
        test: Rows of the test.
        cards: Whether the accounts are real, so that card precision is meaningful.
        digest: Identifies the data and the rows.
        delay: Days that a label takes to arrive; 0 for a table.
        training_end: Milliseconds; an entry's history reaches back from here.
    """

    name: str
    frame: Frame
    training: NDArray[np.int64]
    test: NDArray[np.int64]
    cards: bool
    digest: str
    delay: int
    training_end: int

    def history(self, days: int) -> NDArray[np.int64]:
        """Return the training rows of the last `days` days; all of them if that is 0."""
        if not days:
            return self.training
        return self.training[self.frame.event_time[self.training] >= self.training_end - days * DAY]


def digest(*parts: bytes) -> str:
    """Return the SHA-256 over parts, each preceded by its length."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "big"))
        whole.update(part)
    return whole.hexdigest()


def file_digest(files: Iterable[Path]) -> str:
    """Return the SHA-256 over the contents of files.

    Raises:
        InputError: A file cannot be read.
    """
    whole = hashlib.sha256()
    for file in files:
        try:
            with file.open("rb") as stream:
                whole.update(hashlib.file_digest(stream, "sha256").digest())
        except OSError as error:
            raise InputError(f"{file} cannot be read: {error.strerror}", remedy="check the path") from error
    return whole.hexdigest()


def keep(folder: Path, batches: Iterable[pa.RecordBatch], features: tuple[str, ...]) -> Frame:
    """Write the output of a backfill batch by batch, so that the matrix is never in memory, and map it from disk.

    Raises:
        InputError: As models.frame.collect.
    """
    folder.mkdir(parents=True, exist_ok=True)
    small: list[pa.RecordBatch] = []
    scenarios: list[pa.Array] = []
    names: tuple[str, ...] = ()
    with atomic_file(folder / MATRIX) as part, part.open("wb") as stream:
        for batch in batches:
            names = names or with_extra(features, batch.schema.names)
            labelled = batch.filter(batch.column("fraud").is_valid())
            matrix = np.column_stack([labelled.column(name).to_numpy(zero_copy_only=False) for name in names])
            matrix.astype(np.float64).tofile(stream)
            small.append(batch.select(["account_id", "event_time", "amount", "fraud", "labelled_at"]))
            scenarios.append(labelled.column(SCENARIO).fill_null(""))
    frame = collect(small, ())
    for name in TABLES:
        np.save(folder / f"{name}.npy", getattr(frame, name))
    np.save(folder / f"{SCENARIO}.npy", pa.chunked_array(scenarios).to_numpy().astype(np.str_))
    (folder / NAMES).write_text("\n".join(names), encoding="utf-8")
    return _mapped(folder)


def kept(folder: Path) -> Frame | None:
    """Return the frame that `keep` has written; None if there is none."""
    written = all((folder / name).exists() for name in (NAMES, f"{SCENARIO}.npy"))
    return _mapped(folder) if written else None


def _mapped(folder: Path) -> Frame:
    names = tuple((folder / NAMES).read_text(encoding="utf-8").split("\n"))
    columns = {name: np.load(folder / f"{name}.npy") for name in TABLES}
    shape = (len(columns["event_time"]), len(names))
    return Frame(
        names=names,
        matrix=np.memmap(folder / MATRIX, np.float64, "r", shape=shape),
        groups={SCENARIO: np.load(folder / f"{SCENARIO}.npy")},
        **columns,
    )


def stream_cases(frame: Frame, protocol: Protocol, starts: tuple[int, ...], data: str) -> list[Case]:
    """Return the folds of a stream of transactions.

    Args:
        frame: All transactions, in the order of event time.
        protocol: Lengths and the label delay.
        starts: Times in milliseconds UTC at which training starts; empty for the last folds that fit.
        data: Digest of the data.

    Raises:
        InputError: A fold asked for does not lie within the data, or none fits.
    """
    found = folds(frame, protocol, starts)
    if not found:
        raise InputError(f"the data is shorter than one fold of {protocol.span} days", remedy="give more transactions")
    return [
        Case(
            name=str(np.datetime64(fold.training_start, "ms").astype("datetime64[D]")),
            frame=frame,
            training=fold.training,
            test=fold.test,
            cards=True,
            digest=digest(data.encode(), fold.training.tobytes(), fold.test.tobytes()),
            delay=protocol.delay,
            training_end=fold.training_end,
        )
        for fold in found
    ]


def table(files: list[Path], columns: TableColumns) -> Frame:
    """Return rows whose features are already computed, in the order of time, one file after the other.

    Raises:
        InputError: A column is missing, or the rows are not in the order of time.
    """
    rows = pa.concat_tables([pq.read_table(file) for file in files])
    for name in (columns.time, columns.amount, columns.label):
        if name not in rows.column_names:
            raise InputError(f"{files[0]} has no column {name!r}", remedy="name it under [columns] of the protocol")
    time = (rows[columns.time].to_numpy() * 1000).astype(np.int64)
    if np.any(np.diff(time) < 0):
        raise InputError("the rows are not in the order of time", remedy="sort the file, the training file first")
    names = tuple(name for name in rows.column_names if name not in (columns.time, columns.label))
    return Frame(
        names=names,
        matrix=np.column_stack([rows[name].to_numpy().astype(np.float64) for name in names]),
        account=np.arange(len(time)),
        event_time=time,
        amount=np.rint(rows[columns.amount].to_numpy().astype(np.float64) * 100).astype(np.int64),
        fraud=rows[columns.label].to_numpy().astype(np.bool_),
        labelled_at=time,
    )


def table_case(frame: Frame, test_rows: int, data: str) -> Case:
    """Return one split in time: the test is the last rows, with every row of the same moment as the first of them."""
    cut = int(np.searchsorted(frame.event_time, frame.event_time[len(frame) - test_rows]))
    training, test = np.arange(cut), np.arange(cut, len(frame))
    whole = digest(data.encode(), str(cut).encode())
    return Case(
        "last", frame, training, test, cards=False, digest=whole, delay=0, training_end=int(frame.event_time[cut])
    )
