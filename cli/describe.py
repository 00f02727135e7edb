"""`vedette describe`: statistics of a data set, as a model builder looks at it first."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.archived import ARCHIVE, archived_period, moments
from cli.context import settings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from models.dataset.explained import ExplainedDataset
    from models.dataset.statistics import DatasetStatistics


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(describe)


def describe(
    ctx: typer.Context,
    file: Path | None = typer.Argument(None, help="a .csv or .parquet file of transactions"),
    mapping: str = typer.Option("vedette", "--mapping", metavar="NAME", help="mapping of the file's columns"),
    archive: bool = ARCHIVE,
    since: str = typer.Option("", "--from", metavar="DATE", help="leave out earlier payments"),
    until: str = typer.Option("", "--to", metavar="DATE", help="leave out payments from this time on"),
    model: str = typer.Option(
        "", "--model", metavar="DIR|VERSION", help="importance and partial dependence of the features of this version"
    ),
    html: Path | None = typer.Option(None, "--html", metavar="FILE", help="write one page that needs nothing else"),
    as_json: bool = typer.Option(False, "--json", help="print everything as one JSON object"),
) -> None:
    """Describe a data set: distributions, missing values, outliers, imbalance, relation to fraud, drift over weeks."""
    from contextlib import nullcontext

    import msgspec
    import pyarrow as pa

    from models.dataset.statistics import describe as described
    from vedette.errors import InputError

    if (file is None) != archive:
        raise InputError("which payments are to be described?", remedy="give either FILE or --archive")
    settings = settings_of(ctx)
    start_ms, end_ms = moments(since, until)
    if html:
        from adapters.extras import require_extra

        require_extra("models", "the page", "plotly")
    with archived_period(settings, start_ms, end_ms) if archive else nullcontext() as period:

        def batches() -> "Iterator[pa.RecordBatch]":
            if period:
                return period.history()
            assert file is not None  # noqa: S101, the one or the other
            return _of_file(file, mapping, start_ms, end_ms)

        read = list(batches())
        statistics = described(pa.Table.from_batches(read) if read else pa.table({}))
        explained = _explained(ctx, model, batches) if model else None
    if html:
        from models.dataset.page import html_page, write_page

        write_page(html, html_page(str(file.name if file else "archive"), statistics, explained))
    if as_json:
        whole = {"statistics": statistics, "imbalance": statistics.imbalance, "model": explained}
        typer.echo(msgspec.json.encode(whole).decode())
    elif not html:
        _show(statistics)


def _explained(ctx: typer.Context, model: str, batches: "Callable[[], Iterator[pa.RecordBatch]]") -> "ExplainedDataset":
    from models.dataset.explained import explain
    from models.registry.resolve import chosen_scorer

    return explain(chosen_scorer(settings_of(ctx), model), batches())


def _of_file(file: Path, mapping: str, start_ms: int | None, end_ms: int | None) -> "Iterator[pa.RecordBatch]":
    from producers.files import read_batches
    from producers.mapping import load_mapping

    return read_batches(
        file, load_mapping(mapping), start_ms=start_ms, end_ms=end_ms, on_reject=lambda _: None
    )  # fmt: skip


def _show(statistics: "DatasetStatistics") -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    imbalance = statistics.imbalance
    ratio = "" if imbalance is None else f", one for {imbalance:,.0f} honest ones"
    console.print(f"{statistics.payments:,} payments of {statistics.accounts:,} accounts, "
                  f"{statistics.frauds:,} frauds{ratio}")  # fmt: skip
    table = Table("column", "missing", "distinct", "median", "outliers", "correlation", "AUC")
    for one in statistics.numbers:
        table.add_row(
            one.name, f"{one.missing:.2%}", f"{one.distinct:,}", f"{one.quantiles[3]:,.5g}" if one.quantiles else "-",
            f"{one.outliers:.2%}", "-" if one.correlation is None else f"{one.correlation:+.3f}",
            "-" if one.auc is None else f"{one.auc:.3f}",
        )  # fmt: skip
    for text in statistics.texts:
        table.add_row(text.name, f"{text.missing:.2%}", f"{text.distinct:,}", "", "", "", "")
    console.print(table)
    console.print("--html FILE draws everything")
