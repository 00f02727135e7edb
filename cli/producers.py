"""`vedette simulate` and `vedette replay`: publish simulated transactions or those of a file to Kafka."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.context import settings_of
from cli.exit_codes import INTERRUPTED, require_some

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from producers.aligner import Positions
    from producers.replay import ReplayReport
    from vedette import Settings


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command()(simulate)
    app.command()(replay)


def simulate(
    ctx: typer.Context,
    customers: int = typer.Option(5_000, "--customers", help="number of accounts"),
    terminals: int = typer.Option(10_000, "--terminals", help="number of places to pay at"),
    days: int = typer.Option(183, "--days", help="number of days"),
    start: str = typer.Option("2018-04-01", "--start", metavar="DATE", help="the first moment, UTC"),
    seed: int = typer.Option(0, "--seed", help="the same seed gives the same transactions"),
    scenario: list[str] = typer.Option(
        [],
        "--scenario",
        metavar="NAME[=NUMBER]",
        help="only these frauds (repeat it), and their number per day (default: all)",
    ),
    no_scenario: list[str] = typer.Option([], "--no-scenario", metavar="NAME", help="not this fraud (repeat it)"),
    returns: float = typer.Option(
        0.01, "--returns", metavar="SHARE", help="share of honest payments that are reversed or refunded"
    ),
    label_delay_days: float = typer.Option(7.0, "--label-delay", metavar="DAYS", help="days until a label arrives"),
    late_labels: float = typer.Option(0.0, "--late-labels", metavar="SHARE", help="share of labels later than that"),
    output: str = typer.Option("", "--output", metavar="FILE", help="write a .parquet file"),
    publish: bool = typer.Option(False, "--publish", help="send transactions and labels to Kafka"),
    speed: float = typer.Option(0.0, "--speed", help="event time per real time, 60 is an hour per minute"),
    flat_out: bool = typer.Option(False, "--flat-out", help="as fast as possible (default)"),
    progress: bool = typer.Option(True, "--progress/--no-progress", help="show a progress bar"),
    as_json: bool = typer.Option(False, "--json", help="print the summary as JSON"),
) -> None:
    """Simulate card transactions that include frauds, and write them to a file or to Kafka."""
    from producers import bootstrap
    from producers.files import write_parquet
    from producers.replay import Plan, stop_on_interrupt
    from producers.simulation import Simulation, chosen_scenarios
    from producers.simulator import simulate as simulated
    from vedette.clock import parse_time
    from vedette.errors import InputError

    if bool(output) == publish:
        raise InputError("simulate needs one destination for transactions", remedy="give --output FILE or --publish")
    config = Simulation(
        customers=customers,
        terminals=terminals,
        days=days,
        start=parse_time(start),
        seed=seed,
        returns=returns,
        label_delay_days=label_delay_days,
        late_labels=late_labels,
        scenarios=chosen_scenarios(scenario, no_scenario),
    )
    if output:
        rows = write_parquet(Path(output), simulated(config))
        typer.echo(f"{rows:,} transactions in {output}", err=True)
        require_some(rows, "the simulation has no transaction")
        return
    plan = Plan(source="simulator", speed=_speed(speed, flat_out))
    with stop_on_interrupt() as stopping, _progress(progress, None) as show:
        report = bootstrap.publish(settings_of(ctx), simulated(config), plan, stopping=stopping, on_progress=show)
    _summary(report, 0, "", as_json)


def replay(
    ctx: typer.Context,
    files: list[Path] = typer.Argument(
        ..., metavar="FILE...", help="files in order of time: .csv and .jsonl, also .gz and .zst; .parquet"
    ),
    mapping: str = typer.Option(
        ..., "--mapping", metavar="NAME", help="mapping of its columns: a name or a .toml file"
    ),
    speed: float = typer.Option(0.0, "--speed", help="event time per real time, 60 is an hour per minute"),
    flat_out: bool = typer.Option(False, "--flat-out", help="as fast as possible (default)"),
    since: str = typer.Option("", "--from", metavar="DATE", help="leave out earlier transactions"),
    until: str = typer.Option("", "--to", metavar="DATE", help="leave out transactions at this time or later"),
    align: str = typer.Option(
        "", "--align", metavar="SPAN", help="keep partitions within this span of event time (6d, 12h); needs the worker"
    ),
    align_timeout: float = typer.Option(
        120.0, "--align-timeout", metavar="SECONDS", help="maximum time without progress of the worker"
    ),
    labels: str = typer.Option("at-once", "--labels", help="none, at-once or delayed (in event time)"),
    all_labels: bool = typer.Option(False, "--all-labels", help="also label genuine transactions"),
    reject: str = typer.Option(
        "", "--reject", metavar="FILE", help="file for rejected rows (default: NAME.rejects.csv)"
    ),
    limit: int = typer.Option(0, "--limit", metavar="N", help="stop after this many transactions"),
    progress: bool = typer.Option(True, "--progress/--no-progress", help="show a progress bar"),
    as_json: bool = typer.Option(False, "--json", help="print the summary as JSON"),
) -> None:
    """Publish the transactions of files and their labels to Kafka; several files are one stream."""
    from producers import bootstrap
    from producers.aligner import parse_span
    from producers.files import RejectFile, count_rows, read_files
    from producers.mapping import load_mapping
    from producers.replay import Plan, stop_on_interrupt
    from vedette.card_numbers import CardNumbers
    from vedette.clock import parse_time

    known = load_mapping(mapping)
    plan = Plan(labels=labels, all_labels=all_labels, source=known.name, speed=_speed(speed, flat_out), limit=limit)
    with ExitStack() as parts:
        rejected = parts.enter_context(RejectFile(Path(reject or f"{files[0].stem}.rejects.csv")))
        positions = parts.enter_context(_positions(settings_of(ctx))) if align else None
        batches = read_files(
            files,
            known,
            start_ms=parse_time(since) if since else None,
            end_ms=parse_time(until) if until else None,
            on_reject=rejected.add,
            cards=CardNumbers(settings_of(ctx).cards),
        )
        counts = [count_rows(file) for file in files]
        known_count = None if None in counts else sum(count or 0 for count in counts)
        total = None if since or until else limit or known_count
        with stop_on_interrupt() as stopping, _progress(progress, total) as show:
            report = bootstrap.publish(
                settings_of(ctx),
                batches,
                plan,
                stopping=stopping,
                align_ms=parse_span(align) if align else 0,
                positions=positions,
                align_timeout_s=align_timeout,
                on_progress=show,
                warn=lambda text: typer.echo(f"vedette: {text}", err=True),
            )
    _summary(report, rejected.count, str(rejected.path), as_json)


@contextmanager
def _positions(settings: Settings) -> Iterator[Positions]:
    """Yield the worker's positions, which are stored with its state."""
    from contextlib import closing

    from features.store import RedisStore

    with closing(RedisStore(settings.redis)) as store:
        yield store.positions


def _speed(speed: float, flat_out: bool) -> float:
    from vedette.errors import InputError

    if speed and flat_out:
        raise InputError("--speed and --flat-out contradict each other", remedy="give one of them")
    return speed


@contextmanager
def _progress(wanted: bool, total: int | None) -> Iterator[Callable[[ReplayReport], None]]:
    """Show a bar on standard error with transactions, rate and event time; report the progress on failure."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from vedette import VedetteError
    from vedette.clock import format_time

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}/s"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=not wanted,
    )
    task = bar.add_task("transactions", total=total, rate="0")
    last: list[ReplayReport] = []

    def show(report: ReplayReport) -> None:
        last[:] = [report]
        speed = bar.tasks[0].finished_speed or bar.tasks[0].speed or 0
        moment = format_time(report.last_event_time or 0)
        bar.update(task, completed=report.transactions, description=moment, rate=f"{speed:,.0f}")

    try:
        with bar:
            yield show
    except VedetteError:
        if last:
            sent = f"{last[0].transactions:,} transactions had been handed over"
            typer.echo(f"{sent}, up to event time {format_time(last[0].last_event_time or 0)}", err=True)
        raise


def _summary(report: ReplayReport, rejected: int, reject_file: str, as_json: bool) -> None:
    import json

    import msgspec

    from vedette.clock import format_time

    if as_json:
        typer.echo(json.dumps({**msgspec.to_builtins(report), "rejected": rejected}))
    else:
        reached = "" if report.last_event_time is None else f", up to event time {format_time(report.last_event_time)}"
        verb = "interrupted: sent" if report.interrupted else "sent"
        typer.echo(f"{verb} {report.transactions:,} transactions and {report.labels:,} labels{reached}", err=True)
    if rejected:
        typer.echo(f"{rejected:,} rows were rejected; see {reject_file}", err=True)
    if report.interrupted:
        raise typer.Exit(INTERRUPTED)
    require_some(report.transactions, "no transaction was sent")
