"""Progress of long operations, on standard error."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

Show = Callable[[int], None]
"""Callback that receives the amount done so far."""

Bar = Callable[[str, int | None], Show]
"""Creates a bar from a description and the total amount, None if unknown."""


@contextmanager
def bars() -> Iterator[Bar]:
    """Yield a factory of bars that are shown within the block."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    # Standard output is printed above the bars if both are the terminal, and is redirected as usual otherwise.
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=sys.stdout.isatty()) as progress:

        def bar(what: str, total: int | None) -> Show:
            task = progress.add_task(what, total=total)
            return lambda done: progress.update(task, completed=done)

        yield bar


def shown(batches: "Iterable[pa.RecordBatch]", show: Show) -> "Iterator[pa.RecordBatch]":
    """Yield the same batches, counting the rows of each once it has been processed."""
    rows = 0
    for batch in batches:
        yield batch
        show(rows := rows + len(batch))


def total_rows(files: Sequence[Path]) -> int | None:
    """Return the total number of rows of files; None if they would have to be read."""
    from producers.files import count_rows

    counts = [count_rows(file) for file in files]
    return None if None in counts else sum(count or 0 for count in counts)
