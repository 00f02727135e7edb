"""`vedette features`: the catalogue, and the comparison of the kernel with published features."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from cli.exit_codes import NO, require_some
from cli.feature_log import DAYS
from cli.progress import bars, shown, total_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from producers.converter import RejectedRow

_JSON = typer.Option(False, "--json", help="print JSON")


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    features = typer.Typer(no_args_is_help=True, help="The features of the models.")
    features.command("list")(list_features)
    for command in (show, docs, verify, skew):
        features.command()(command)
    features.command("compile")(compile_features)
    app.add_typer(features, name="features")


def list_features(as_json: bool = _JSON) -> None:
    """List every feature with its meaning."""
    import msgspec
    from rich.console import Console
    from rich.table import Column, Table

    from features.catalogue import CATALOGUE

    if as_json:
        typer.echo(msgspec.json.encode(CATALOGUE).decode())
        return
    table = Table(Column("feature", no_wrap=True), "unit", "meaning")  # a name is for copying, so it is never cut
    for feature in CATALOGUE:
        table.add_row(feature.name, feature.unit, feature.meaning)
    Console().print(table)


def compile_features(ctx: typer.Context) -> None:
    """Compile all kernels now, so that later processes do not wait; do nothing if they are compiled."""
    from cli.context import settings_of
    from decisions.rollout import Rollout
    from features.compile import compile_kernels
    from streams.bootstrap import load_strategy
    from streams.warmup import warm_up

    decisions = settings_of(ctx).decisions
    compile_kernels()
    warm_up(Rollout(load_strategy(decisions.model_folder, decisions.policy_file)))


def show(name: str = typer.Argument(help="such as account_count_1d"), as_json: bool = _JSON) -> None:
    """Show everything about one feature."""
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from features.reference import find

    feature = find(name)
    if as_json:
        typer.echo(msgspec.json.encode(feature).decode())
        return
    table = Table(show_header=False)
    for key, value in msgspec.to_builtins(feature).items():
        table.add_row(key, ", ".join(value) if isinstance(value, list | tuple) else str(value))
    Console().print(table)


def docs() -> None:
    """Print the reference page of all features, for docs/features.md."""
    from features.reference import reference

    typer.echo(reference(), nl=False)


def verify(
    golden: Path = typer.Argument(help="Parquet file of published features, one row per TRANSACTION_ID"),
    transactions: list[Path] = typer.Option(
        ..., "--transactions", metavar="FILE", help="files of transactions, the oldest first (repeat it)"
    ),
    mapping: str = typer.Option("handbook", "--mapping", metavar="NAME", help="mapping of their columns"),
    through_stream: bool = typer.Option(
        False, "--through-stream", help="let a worker compute them, with a separate broker and Redis"
    ),
    broker: Literal["embedded", "apache"] = typer.Option("embedded", "--broker", help="with --through-stream"),
    redis: Literal["embedded", "system"] = typer.Option("embedded", "--redis", help="with --through-stream"),
    as_json: bool = _JSON,
) -> None:
    """Recompute published features from their transactions; exit code 1 if any value differs."""
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from features.parity import verify as verify_offline

    with bars() as bar:
        batches = _transactions(transactions, mapping)
        total = total_rows(transactions)
        if through_stream:
            import tempfile

            from bench.measurement import Setup
            from bench.parity import verify_through_stream

            with tempfile.TemporaryDirectory(prefix="vedette-verify-") as directory:
                report = verify_through_stream(
                    golden, batches, Setup(Path(directory), broker, redis),
                    on_published=bar("through the worker", total), on_compared=bar("compared", total),
                )  # fmt: skip
        else:
            report = verify_offline(golden, shown(batches, bar("computed", total)))
    if as_json:
        typer.echo(msgspec.json.encode(report).decode())
    else:
        typer.echo(f"{report.rows:,} rows, {report.columns} columns, {report.mismatches:,} mismatches")
        if report.first:
            table = Table("transaction", "published as", "feature", "published", "computed")
            for m in report.first:
                table.add_row(m.transaction_id, m.column, m.feature, repr(m.published), repr(m.computed))
            Console().print(table)
    if report.mismatches:
        raise typer.Exit(NO)
    require_some(report.rows, "no row was compared")


def skew(ctx: typer.Context, days: float = DAYS, as_json: bool = _JSON) -> None:
    """Compare live features as the stream saw them with the same features computed without lag."""
    import tempfile

    import msgspec
    from rich.console import Console
    from rich.table import Table

    from cli.context import settings_of
    from cli.feature_log import read_feature_log
    from streams.history import skew as comparison
    from streams.history.topic_history import past
    from vedette.clock import DAY, SystemClock
    from vedette.events import MAX_TIME

    log, _ = read_feature_log(ctx, days)
    settings, since = settings_of(ctx), max(SystemClock().now_ms() - round(days * DAY), 0)
    with (
        Console(stderr=True).status("computing the features without lag"),
        tempfile.TemporaryDirectory(prefix="vedette-skew-") as room,
        past(settings, Path(room), start_ms=0, end_ms=MAX_TIME) as history,
    ):
        waited = comparison.published_after(settings, since)
        report = comparison.skew(history.in_order(), log, waited, settings.features.label_delay)
    if as_json:
        typer.echo(msgspec.json.encode(report).decode())
        return
    table = Table("live feature", "equal", *(f"difference, {level:.0%}" for level in comparison.QUANTILES))
    for one in report.features:
        table.add_row(one.feature, f"{one.equal:.1%}", *(f"{value:.4g}" for value in one.quantiles))
    Console().print(table)
    behind = ", ".join(
        f"{s:.3f} s ({q:.0%})" for s, q in zip(report.published_after_s, comparison.QUANTILES, strict=False)
    )
    typer.echo(f"{report.payments:,} payments; their activity was published after {behind or 'an unknown time'}")


def _transactions(files: list[Path], mapping: str) -> "Iterator[pa.RecordBatch]":
    from itertools import chain

    from producers.files import read_batches
    from producers.mapping import load_mapping
    from vedette.errors import InputError

    def refuse(reject: "RejectedRow") -> None:
        raise InputError(
            f"row {reject.line}, column {reject.column}: {reject.value!r} {reject.reason}",
            remedy="features can only be compared if no transaction is missing",
        )

    known = load_mapping(mapping)
    return chain.from_iterable([read_batches(file, known, on_reject=refuse) for file in files])
