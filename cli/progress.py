"""Progress of long work, on standard error."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

Show = Callable[[int], None]
"""Told how much is done so far."""

Bar = Callable[[str, int | None], Show]
"""Makes a bar of what is being done, and how much there is to do, None where nobody knows beforehand."""


@contextmanager
def bars() -> Iterator[Bar]:
    """What makes bars, to be shown within the block."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    # Standard output goes above the bars where both are the terminal, and where it was sent to if that is elsewhere.
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=sys.stdout.isatty()) as progress:

        def bar(what: str, total: int | None) -> Show:
            task = progress.add_task(what, total=total)
            return lambda done: progress.update(task, completed=done)

        yield bar


def shown(batches: "Iterable[pa.RecordBatch]", show: Show) -> "Iterator[pa.RecordBatch]":
    """The same batches, their rows counted once each has been dealt with."""
    rows = 0
    for batch in batches:
        yield batch
        show(rows := rows + len(batch))


def total_rows(files: Sequence[Path]) -> int | None:
    """How many rows files have together; None where only reading them would tell."""
    from producers.files import count_rows

    counts = [count_rows(file) for file in files]
    return None if None in counts else sum(count or 0 for count in counts)
