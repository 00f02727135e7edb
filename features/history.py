"""History in order of event time, whatever the order of its source: sorted on disk where memory is too small.

DuckDB sorts it. It uses at most MEMORY and spills the rest into files of a scratch directory.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from vedette.errors import InputError

MEMORY = "256MB"
BATCH_ROWS = 50_000
ROW = "row"
"""Column with the position of a transaction in the source, which orders events of the same moment."""

_READERS: dict[str, Any] = {
    ".parquet": duckdb.DuckDBPyConnection.read_parquet,
    ".csv": duckdb.DuckDBPyConnection.read_csv,
    ".jsonl": duckdb.DuckDBPyConnection.read_json,
}

_LABELLED = (
    " REPLACE (coalesce(labels.fraud, batches.fraud) AS fraud,"
    " coalesce(labels.labelled_at, batches.labelled_at) AS labelled_at)"
)


def connect(scratch: Path) -> duckdb.DuckDBPyConnection:
    """Open DuckDB with its memory limit, a scratch directory to spill to, and no output."""
    database = duckdb.connect(
        config={
            "memory_limit": MEMORY,
            "threads": 2,
            "temp_directory": str(scratch / "duckdb"),
            "preserve_insertion_order": False,
        }
    )
    database.execute("SET enable_progress_bar = false")  # otherwise it writes between the lines of standard output
    return database


class History:
    """Transactions as a DuckDB view `history`: their original columns, and ROW; it can be read once."""

    def __init__(self, database: duckdb.DuckDBPyConnection, failed: list[Exception]) -> None:
        self.database = database
        self._failed = failed

    def in_order(self) -> Iterator[pa.RecordBatch]:
        """Yield the whole history in batches as for Backfill.advance."""
        with self.reading():
            ordered = self.database.sql("SELECT * EXCLUDE (row) FROM history ORDER BY event_time, row")
            yield from ordered.to_arrow_reader(BATCH_ROWS)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Raise an error of the batches unchanged, although DuckDB reads them."""
        try:
            yield
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            raise (self._failed or [error])[0] from None


@contextmanager
def opened(
    batches: Iterable[pa.RecordBatch],
    scratch: Path,
    *,
    labels: Path | pa.RecordBatchReader | None = None,
    beside: pa.RecordBatchReader | None = None,
    once: bool = False,
    on_read: Callable[[int], None] = lambda _: None,
) -> Iterator[History]:
    """Open the history, for reading within the block.

    Args:
        batches: In any order; columns as the fields of Transaction, and, if labels are known, `fraud` and
            `labelled_at`.
        scratch: A directory for data that does not fit into memory.
        labels: `transaction_id`, `fraud` and `labelled_at` (milliseconds), which override those of the batches for
            these transactions: a .parquet, .csv or .jsonl file, or batches. Of several, the last to become known
            counts.
        beside: `transaction_id` and columns to add to those of the transaction, and ROW,
            which numbers them: of several for one transaction the first is used.
        once: Take only the first occurrence of each transaction.
        on_read: Called after each batch with the number of transactions read.

    Raises:
        InputError: There are no transactions, or the file of labels is not valid. Errors of the batches are raised
            unchanged.
    """
    source = iter(batches)
    first = next(source, None)
    if first is None:
        raise InputError("there are no transactions", remedy="check their source, and the span of time")
    failed: list[Exception] = []

    def numbered() -> Iterator[pa.RecordBatch]:
        rows = 0
        try:
            for batch in chain([first], source):
                yield batch.append_column(ROW, pa.array(np.arange(rows, rows + len(batch))))
                rows += len(batch)
                on_read(rows)
        except Exception as error:
            failed.append(error)
            raise

    schema = first.schema.append(pa.field(ROW, pa.int64()))
    with connect(scratch) as database:
        database.register("batches", pa.RecordBatchReader.from_batches(schema, numbered()))
        history = History(database, failed)
        if once:
            with history.reading():
                _take_firsts(database, scratch / "batches.parquet")
        view = "CREATE TEMP VIEW history AS SELECT batches.*"
        if labels is not None:
            _take_labels(database, labels)
            view += _LABELLED
        view += ", beside.* EXCLUDE (transaction_id, row)" if beside is not None else ""
        view += " FROM firsts AS batches" if once else " FROM batches"
        if labels is not None:
            view += " LEFT JOIN labels USING (transaction_id)"
        if beside is not None:
            with history.reading():
                database.from_arrow(beside).create_view("found")
                database.execute(
                    "CREATE TEMP TABLE beside AS SELECT DISTINCT ON (transaction_id) * FROM found"
                    " ORDER BY transaction_id, row"
                )
            view += " LEFT JOIN beside USING (transaction_id)"
        database.execute(view)
        yield history


def _take_firsts(database: duckdb.DuckDBPyConnection, file: Path) -> None:
    """Create a view of the first occurrence of each transaction: a window over whole rows would not fit into memory."""
    database.view("batches").write_parquet(str(file))
    database.read_parquet(str(file)).create_view("every")
    database.execute("CREATE TEMP TABLE first_rows AS SELECT min(row) AS row FROM every GROUP BY transaction_id")
    database.execute("CREATE TEMP VIEW firsts AS SELECT * FROM every SEMI JOIN first_rows USING (row)")


def _take_labels(database: duckdb.DuckDBPyConnection, labels: Path | pa.RecordBatchReader) -> None:
    """Create a table of labels with the one known last for each transaction."""
    read: Any = database.from_arrow
    if isinstance(labels, Path):
        if labels.suffix not in _READERS:
            raise InputError(f"{labels}: the kind of this file is unknown", remedy=f"name it {' or '.join(_READERS)}")
        read, labels = partial(_READERS[labels.suffix], database), str(labels)
    try:
        read(labels).aggregate(
            "transaction_id::VARCHAR AS transaction_id, arg_max(fraud::BOOLEAN, labelled_at::BIGINT) AS fraud,"
            " max(labelled_at::BIGINT) AS labelled_at",
            "transaction_id",
        ).create("labels")
    except duckdb.Error as error:
        raise InputError(
            f"{labels} has no labels: {str(error).splitlines()[0]}",
            remedy="it needs the columns transaction_id, fraud and labelled_at (milliseconds since 1970, UTC)",
        ) from error
