"""`vedette drift`: drift of payments and scores since the training of a model."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.context import settings_of
from cli.feature_log import DAYS, JSON, read_feature_log

if TYPE_CHECKING:
    from streams.history.model_monitor import Observation

_SHOWN = 15


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command()(drift)


def drift(
    ctx: typer.Context,
    model: str = typer.Option(
        "", "--model", metavar="DIR|VERSION", help="[default: the folder the worker starts with]"
    ),
    days: float = DAYS,
    window: float = typer.Option(
        7.0, "--window", metavar="DAYS", min=0.01, help="measure drift over the last days of event time"
    ),
    html: Path | None = typer.Option(None, "--html", metavar="FILE", help="write a page with every distribution"),
    serve: int = typer.Option(
        0, "--serve", metavar="PORT", min=0, max=65535, help="keep running, and serve Prometheus metrics"
    ),
    every: float = typer.Option(
        3600.0, "--every", metavar="SECONDS", min=1, help="with --serve: measure again after this many seconds"
    ),
    as_json: bool = JSON,
) -> None:
    """Measure the drift of features and score since training, and the metrics of the model on the labels so far."""
    import threading

    import msgspec

    from adapters.extras import require_extra
    from models.drift_report import write_report
    from models.folder import read_baseline
    from models.registry.resolve import chosen_folder
    from models.scorer import load_scorer
    from streams.history.model_monitor import Gauges, observe, recent, rows_for

    if html:
        require_extra("models", "the drift page", "evidently")
    folder = chosen_folder(settings_of(ctx), model)
    scorer, baseline = load_scorer(folder), read_baseline(folder)

    def measure() -> "Observation":
        log, labels = read_feature_log(ctx, days)
        observation = observe(scorer, baseline, log, labels, window)
        if html:
            part = recent(log, window)
            write_report(html, baseline, part.names, part.matrix, scorer.predict(rows_for(scorer, part)))
        return observation

    observation = measure()
    if as_json:
        typer.echo(msgspec.json.encode(observation).decode())
    else:
        _show(observation)
    if serve:
        from adapters.http_server import Readiness
        from adapters.http_thread import ServerThread
        from adapters.logs import service_log
        from adapters.metrics_app import metrics_app

        gauges = Gauges()
        app = metrics_app("Vedette drift", gauges.registry, Readiness(), service_log("drift"))
        ServerThread(app, settings_of(ctx).worker.metrics_host, serve, setting="`--serve PORT`")
        while True:
            gauges.show(observation)
            threading.Event().wait(every)
            observation = measure()


def _show(observation: "Observation") -> None:
    from rich.console import Console
    from rich.table import Table

    from vedette.clock import format_time

    console = Console(markup=False)
    table = Table("column", "PSI", "KS", "missing", "in training", "", box=None)
    for column in observation.drift[:_SHOWN]:
        table.add_row(
            column.name, f"{column.psi:.3f}", f"{column.ks:.3f}", f"{column.missing:.1%}",
            f"{column.missing_before:.1%}", column.stability,
        )  # fmt: skip
    console.print(table)
    weeks = Table("week from", "payments", "alerts", "frauds", "AP", "recall", "precision", box=None)
    for week in observation.weeks:
        figures = week.metrics
        shown = (
            (
                str(figures.frauds),
                f"{figures.average_precision:.3f}",
                f"{figures.recall:.3f}",
                f"{figures.precision:.3f}",
            )
            if figures
            else ("labels pending" if not week.mature else "no fraud", "", "", "")
        )
        weeks.add_row(format_time(week.start)[:10], f"{week.payments:,}", f"{week.alert_rate:.2%}", *shown)
    console.print(weeks)
    moved = sum(column.stability == "moved" for column in observation.drift)
    typer.echo(
        f"{observation.model}: {observation.payments:,} payments, "
        f"{moved} of {len(observation.drift)} columns have moved"
    )
