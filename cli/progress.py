"""Progress of long work, on standard error."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Show = Callable[[int], None]
"""Told how much is done so far."""


@contextmanager
def bars() -> Iterator[Callable[[str, int | None], Show]]:
    """Makes bars: `bar(what, total)`, the total None where nobody knows it beforehand."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:

        def bar(what: str, total: int | None) -> Show:
            task = progress.add_task(what, total=total)
            return lambda done: progress.update(task, completed=done)

        yield bar
