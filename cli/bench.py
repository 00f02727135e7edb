"""`vedette bench`: every performance claim, measured."""

import typer


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    group = typer.Typer(
        help="Measure Vedette beside its references; run it alone on the machine.", no_args_is_help=True
    )
    group.command()(throughput)
    group.callback()(lambda: None)
    app.add_typer(group, name="bench")


def throughput(
    transactions: int = typer.Option(300_000, "--transactions", metavar="N", min=10_000, help="how many"),
    accounts: int = typer.Option(50_000, "--accounts", metavar="N", min=100, help="of how many accounts"),
    partitions: int = typer.Option(4, "--partitions", metavar="N", min=1, help="of the topics"),
    broker: str = typer.Option("apache", "--broker", help="apache or embedded"),
    redis: str = typer.Option("system", "--redis", help="system or embedded"),
    as_json: bool = typer.Option(False, "--json", help="print one JSON object as the last line"),
) -> None:
    """Transactions per second of one worker, beside a naive worker and the bare calls in the same run."""
    import dataclasses
    import json
    import tempfile
    from pathlib import Path

    from bench.throughput import measure

    with tempfile.TemporaryDirectory(prefix="vedette-bench-") as directory:
        result = measure(
            Path(directory), transactions=transactions, accounts=accounts, partitions=partitions, broker=broker,
            redis=redis, say=lambda text: typer.echo(f"{text} …", err=True),
        )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(result)))
        return
    typer.echo(f"vedette {result.vedette:>9,.0f}/s")
    typer.echo(f"naive   {result.naive:>9,.0f}/s   vedette is {result.vedette / result.naive:.0f} times as fast")
    typer.echo(f"limit   {result.limit:>9,.0f}/s   vedette reaches {result.vedette / result.limit:.0%} of it")
    for stage, microseconds in result.stages_us.items():
        typer.echo(f"  {stage:<9} {microseconds:6.2f} µs per transaction")
