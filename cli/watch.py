"""`vedette drift`, `vedette retrain` and `vedette models ab`: the model on the stream."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.context import settings_of

if TYPE_CHECKING:
    from models.retrain import Trial
    from streams.ab import Estimate
    from streams.featurelog import FeatureLog
    from streams.watch import Observation
    from vedette.events import Label

_DAYS = typer.Option(30.0, "--days", min=0.01, help="how far back to read the feature log, by arrival")
_JSON = typer.Option(False, "--json", help="print JSON")
_SHOWN = 15


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command()(drift)
    app.command()(retrain)


def drift(
    ctx: typer.Context,
    model: str = typer.Option(
        "", "--model", metavar="DIR|VERSION", help="[default: the folder the worker starts with]"
    ),
    days: float = _DAYS,
    window: float = typer.Option(7.0, "--window", metavar="DAYS", min=0.01, help="days of event time drift is over"),
    html: Path | None = typer.Option(None, "--html", metavar="FILE", help="write a page with every distribution"),
    serve: int = typer.Option(
        0, "--serve", metavar="PORT", min=0, max=65535, help="stay, and serve Prometheus metrics"
    ),
    every: float = typer.Option(3600.0, "--every", metavar="SECONDS", min=1, help="with --serve: look again after"),
    as_json: bool = _JSON,
) -> None:
    """Measure how far features and score have moved from training, and how good the model is by the labels so far."""
    import threading

    import msgspec

    from models.drift_report import write_report
    from models.folder import read_baseline
    from models.registry.choose import chosen_folder
    from models.scorer import load_scorer
    from streams.watch import Gauges, observe, recent, rows_for

    folder = chosen_folder(settings_of(ctx), model)
    scorer, baseline = load_scorer(folder), read_baseline(folder)

    def look() -> "Observation":
        log, labels = _read(ctx, days)
        seen = observe(scorer, baseline, log, labels, window)
        if html:
            part = recent(log, window)
            write_report(html, baseline, part.names, part.matrix, scorer.predict(rows_for(scorer, part)))
        return seen

    seen = look()
    if as_json:
        typer.echo(msgspec.json.encode(seen).decode())
    else:
        _show_drift(seen)
    if serve:
        from prometheus_client import start_http_server

        gauges = Gauges()
        start_http_server(serve, addr=settings_of(ctx).worker.metrics_host, registry=gauges.registry)
        while True:
            gauges.show(seen)
            threading.Event().wait(every)
            seen = look()


def retrain(
    ctx: typer.Context,
    days: float = _DAYS,
    champion: str = typer.Option(
        "", "--champion", metavar="DIR|VERSION", help="[default: the folder the worker starts with]"
    ),
    output: Path | None = typer.Option(None, "--output", metavar="DIR", help="[default: var/models/NAME-next]"),
    take_in: bool = typer.Option(True, "--register/--no-register", help="take the new model into the registry"),
    as_json: bool = _JSON,
) -> None:
    """Train the next model from the feature log and the labels so far, and hold it against the champion.

    The comparison is on the latest week whose labels had time to arrive, which taught the new model nothing. Nothing
    is put into service: a better model is proposed, and somebody promotes it.
    """
    import json

    import msgspec
    from rich.console import Console

    from models.folder import save
    from models.protocol import Protocol
    from models.provenance import git_commit
    from models.registry.choose import chosen_folder
    from models.retrain import next_model, trial
    from models.scorer import load_scorer
    from streams.watch import rows_for
    from vedette.clock import SystemClock

    settings = settings_of(ctx)
    beaten = load_scorer(chosen_folder(settings, champion))
    contract = beaten.contract
    protocol = Protocol(delay=contract.label_delay_days)
    log, labels = _read(ctx, days)
    frame = log.frame(labels, protocol.delay)
    with Console(stderr=True).status("training") as status:
        result = trial(frame, beaten, beaten.predict(rows_for(beaten, log)), contract.config, protocol)
        status.update("training on all that is known")
        model, teaching = next_model(frame, contract.config, protocol.delay)
    folder = output or Path("var/models") / f"{contract.name}-next"
    made = save(
        folder,
        model,
        teaching,
        name=contract.name,
        label_delay_days=protocol.delay,
        folds=[],
        created_at=SystemClock().now_ms(),
        git_commit=git_commit(Path(__file__).resolve().parents[1]),
    )
    number = None
    if take_in:
        from models.registry import Registry
        from models.registry.papers import register as register_folder

        number = register_folder(Registry(settings.registry), folder, SystemClock().now_ms()).number
    if as_json:
        about = {"model": f"{made.name}@{made.version}", "folder": str(folder), "number": number}
        typer.echo(json.dumps(about | {"trial": msgspec.to_builtins(result)}))
        return
    _show_trial(f"{made.name}@{made.version}", beaten.version, folder, number, result)


def ab(
    ctx: typer.Context,
    days: float = _DAYS,
    delay: int = typer.Option(7, "--delay", metavar="DAYS", min=0, help="what a label takes to arrive"),
    as_json: bool = _JSON,
) -> None:
    """Compare champion and challenger on the payments of the latest challenge, with 95 % intervals."""
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from streams.ab import report

    log, labels = _read(ctx, days)
    found = report(log, labels, delay)
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
        return
    table = Table("", "champion", "challenger", "difference", box=None)
    arms = (found.champion, found.challenger)
    table.add_row("version", *(arm.model if arm else "shadow only" for arm in arms), "")
    for name in ("accounts", "payments", "frauds"):
        table.add_row(name, *(f"{getattr(arm, name):,}" if arm else "" for arm in arms), "")
    rates = (_share(arm.alert_rate if arm else None) for arm in arms)
    table.add_row("alert rate", *rates, _share(found.alert_rate))
    table.add_row("recall", *(_share(arm.recall if arm else None) for arm in arms), _share(found.recall))
    table.add_row("", "", "", "")
    paired = found.paired
    table.add_row("same payments", f"{paired.payments:,}", f"{paired.payments:,}", f"{paired.agreement:.2%} agree")
    table.add_row("alert rate", f"{paired.champion_alert_rate:.3%}", f"{paired.challenger_alert_rate:.3%}", "")
    precision = paired.average_precision
    shown = f"{precision.value:+.3f} ({precision.low:+.3f} to {precision.high:+.3f})" if precision else "no fraud known"
    table.add_row("average precision", "", "", shown)
    Console(markup=False).print(table)


def _read(ctx: typer.Context, days: float) -> "tuple[FeatureLog, dict[str, Label]]":
    from rich.console import Console

    from streams.featurelog import read_labels, read_log
    from vedette.clock import DAY, SystemClock

    settings = settings_of(ctx)
    with Console(stderr=True).status("reading the feature log"):
        return read_log(settings, max(SystemClock().now_ms() - round(days * DAY), 0)), read_labels(settings)


def _share(estimate: "Estimate | None") -> str:
    if estimate is None:
        return ""
    return f"{estimate.value:.3%} ({estimate.low:.3%} to {estimate.high:.3%})"


def _show_drift(seen: "Observation") -> None:
    from rich.console import Console
    from rich.table import Table

    from vedette.clock import format_time

    console = Console(markup=False)
    table = Table("column", "PSI", "KS", "missing", "in training", "", box=None)
    for column in seen.drift[:_SHOWN]:
        table.add_row(
            column.name, f"{column.psi:.3f}", f"{column.ks:.3f}", f"{column.missing:.1%}",
            f"{column.missing_before:.1%}", column.verdict,
        )  # fmt: skip
    console.print(table)
    weeks = Table("week from", "payments", "alerts", "frauds", "AP", "recall", "precision", box=None)
    for week in seen.weeks:
        figures = week.metrics
        shown = (
            (
                str(figures.frauds),
                f"{figures.average_precision:.3f}",
                f"{figures.recall:.3f}",
                f"{figures.precision:.3f}",
            )
            if figures
            else ("labels to come" if not week.mature else "no fraud", "", "", "")
        )
        weeks.add_row(format_time(week.start)[:10], f"{week.payments:,}", f"{week.alert_rate:.2%}", *shown)
    console.print(weeks)
    moved = sum(column.verdict == "moved" for column in seen.drift)
    typer.echo(f"{seen.model}: {seen.payments:,} payments, {moved} of {len(seen.drift)} columns have moved")


def _show_trial(made: str, champion: str, folder: Path, number: int | None, result: "Trial") -> None:
    from vedette.clock import format_time

    week = f"{format_time(result.test_start)[:10]} to {format_time(result.test_end)[:10]}"
    typer.echo(f"{made} written to {folder}" + (f", version {number}" if number else ""))
    typer.echo(
        f"on {week}: average precision {result.challenger.average_precision:.3f}, {champion} "
        f"{result.champion.average_precision:.3f}, difference {result.difference:+.3f} "
        f"({result.low:+.3f} to {result.high:+.3f})"
    )
    if result.seen:
        typer.echo(f"{champion} was trained on some of that week, which flatters it")
    if result.promote:
        typer.echo(f"better beyond doubt; try it: `vedette models challenge {number or made} --share 0.2 …`")
    else:
        typer.echo("not better beyond doubt; keep the champion")
