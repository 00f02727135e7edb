"""`vedette whatif`: what another model or policy would have decided."""

import typer

from cli.context import settings_of


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command()(whatif)


def whatif(
    ctx: typer.Context,
    file: str = typer.Argument(help="a .csv or .parquet file, in order of time"),
    mapping: str = typer.Option(..., "--mapping", metavar="NAME", help="what its columns mean"),
    since: str = typer.Option("", "--from", metavar="DATE", help="compare from here on; all before builds the state"),
    until: str = typer.Option("", "--to", metavar="DATE", help="leave out what happened then or later"),
    model: str = typer.Option("", "--model", metavar="DIR", help="the model in question (default: the one in force)"),
    policy: str = typer.Option("", "--policy", metavar="FILE", help="the policy in question (default: as in force)"),
    output: str = typer.Option("", "--output", metavar="FILE", help="write the changed transactions as Parquet"),
    as_json: bool = typer.Option(False, "--json", help="print the summary as JSON"),
) -> None:
    """List every decision that another model or policy would change, touching neither state nor topics."""
    import json
    from pathlib import Path

    import pyarrow as pa
    import pyarrow.parquet as pq
    from rich.console import Console
    from rich.progress import Progress

    from producers.files import count_rows, read_batches
    from producers.mapping import load_mapping
    from streams.bootstrap import load_judge
    from streams.whatif import compare
    from vedette.clock import format_time, parse_time

    worker = settings_of(ctx).worker
    old = load_judge(Path(worker.model), Path(worker.policy))
    new = load_judge(Path(model or worker.model), Path(policy or worker.policy))
    rejected: list[object] = []
    batches = read_batches(
        Path(file), load_mapping(mapping), end_ms=parse_time(until) if until else None, on_reject=rejected.append
    )
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("replaying", total=None if until else count_rows(Path(file)))
        result = compare(
            batches,
            old,
            new,
            since=parse_time(since) if since else 0,
            on_progress=lambda taken, time: bar.update(task, completed=taken, description=format_time(time)),
        )
    if output and result.changed:
        pq.write_table(pa.Table.from_batches(result.changed), output)
    summary = {"old": old.about, "new": new.about, "rejected": len(rejected), "result": result.summary()}
    if as_json:
        typer.echo(json.dumps(summary))
        return
    from vedette.money import format_amount

    typer.echo(f"{result.transactions:,} transactions, {sum(result.moves.values()):,} decisions change")
    for move, times in sorted(result.moves.items()):
        money = ", ".join(format_amount(minor, currency) for currency, minor in result.money[move].items())
        typer.echo(f"  {move:<22} {times:>8,}   {money}")
    for name, side in (("old", result.old), ("new", result.new)):
        recall = f", recall {side.frauds_flagged / result.frauds:.1%}" if result.frauds else ""
        typer.echo(f"{name}: {side.flagged / result.days:,.1f} alerts a day{recall}")
