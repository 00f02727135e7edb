"""History in order of event time, however it was written down: sorted on disk where memory does not hold it.

DuckDB does the sorting. It keeps to MEMORY and puts what is more into files of a scratch directory.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
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
"""Where a transaction stood in what was read; what happened at one moment stays in that order."""

_READERS = {
    ".parquet": duckdb.DuckDBPyConnection.read_parquet,
    ".csv": duckdb.DuckDBPyConnection.read_csv,
    ".jsonl": duckdb.DuckDBPyConnection.read_json,
}


class History:
    """Transactions as a DuckDB view `history`: the columns they came with, and ROW; it can be read once."""

    def __init__(self, database: duckdb.DuckDBPyConnection, failed: list[Exception]) -> None:
        self.database = database
        self._failed = failed

    def in_order(self) -> Iterator[pa.RecordBatch]:
        """All of it in batches as Backfill.advance takes them."""
        with self.reading():
            ordered = self.database.sql("SELECT * EXCLUDE (row) FROM history ORDER BY event_time, row")
            yield from ordered.to_arrow_reader(BATCH_ROWS)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Whatever goes wrong with the batches while DuckDB reads them is raised as it was."""
        try:
            yield
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            raise (self._failed or [error])[0] from None


@contextmanager
def opened(
    batches: Iterable[pa.RecordBatch],
    scratch: Path,
    labels: Path | None = None,
    on_read: Callable[[int], None] = lambda _: None,
) -> Iterator[History]:
    """History to be read within the block.

    Args:
        batches: In any order; columns as the fields of Transaction, and, if labels are known, `fraud` and
            `labelled_at`.
        scratch: A directory for what does not fit into memory.
        labels: A .parquet, .csv or .jsonl file with `transaction_id`, `fraud` and `labelled_at` (milliseconds), which
            takes the place of what the batches say about these transactions.
        on_read: Told after each batch how many transactions have been read.

    Raises:
        InputError: There are no transactions, or the file of labels is none. Whatever goes wrong with the batches is
            raised as it is.
    """
    source = iter(batches)
    first = next(source, None)
    if first is None:
        raise InputError("there are no transactions", remedy="check the file, its mapping and the rows left out")
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
    options: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": MEMORY,
        "threads": 2,
        "temp_directory": str(scratch),
        "preserve_insertion_order": False,
    }
    with duckdb.connect(config=options) as database:
        database.register("batches", pa.RecordBatchReader.from_batches(schema, numbered()))
        if labels:
            _register_labels(database, labels)
            database.execute(
                "CREATE TEMP VIEW history AS SELECT batches.* REPLACE (coalesce(labels.fraud, batches.fraud) AS fraud,"
                " coalesce(labels.labelled_at, batches.labelled_at) AS labelled_at)"
                " FROM batches LEFT JOIN labels USING (transaction_id)"
            )
        else:
            database.execute("CREATE TEMP VIEW history AS FROM batches")
        yield History(database, failed)


def _register_labels(database: duckdb.DuckDBPyConnection, path: Path) -> None:
    if path.suffix not in _READERS:
        raise InputError(f"{path}: cannot tell what kind of file this is", remedy=f"name it {' or '.join(_READERS)}")
    try:
        read: Any = _READERS[path.suffix]
        read(database, str(path)).project(
            "transaction_id::VARCHAR AS transaction_id, fraud::BOOLEAN AS fraud, labelled_at::BIGINT AS labelled_at"
        ).create("labels")
        twice = database.execute(
            "SELECT transaction_id FROM labels GROUP BY transaction_id HAVING count(*) > 1 LIMIT 1"
        ).fetchone()
    except duckdb.Error as error:
        raise InputError(
            f"{path} has no labels: {str(error).splitlines()[0]}",
            remedy="it needs the columns transaction_id, fraud and labelled_at (milliseconds since 1970, UTC)",
        ) from error
    if twice:
        raise InputError(f"{path} has more than one label of transaction {twice[0]!r}", remedy="keep the last one")
