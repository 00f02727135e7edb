"""`vedette retrain`: the next model from the feature log."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.archived import ARCHIVE, SINCE, UNTIL, archived_period, moments
from cli.context import settings_of
from cli.feature_log import DAYS, JSON, read_feature_log

if TYPE_CHECKING:
    from streams.history.retraining import Retraining


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command()(retrain)


def retrain(
    ctx: typer.Context,
    days: float = DAYS,
    archive: bool = ARCHIVE,
    since: str = SINCE,
    until: str = UNTIL,
    champion: str = typer.Option(
        "", "--champion", metavar="DIR|VERSION", help="[default: the folder the worker starts with]"
    ),
    output: Path | None = typer.Option(None, "--output", metavar="DIR", help="[default: var/models/NAME-next]"),
    register_model: bool = typer.Option(True, "--register/--no-register", help="register the new model"),
    as_json: bool = JSON,
) -> None:
    """Train the next model from the feature log and the labels so far, and compare it with the champion.

    With --archive the payments of a period of event time are read, instead of the last --days of the topic.

    The comparison is on the latest week whose labels have had time to arrive, on which the new model of the comparison
    was not trained. Nothing is put into service: a better model is proposed for a trial.
    """
    import msgspec
    from rich.console import Console

    from models.provenance import git_commit
    from models.registry.resolve import chosen_folder
    from models.scorer import load_scorer
    from streams.history.retraining import retrain as train_next
    from vedette.clock import SystemClock

    settings = settings_of(ctx)
    if register_model:
        from adapters.extras import require_extra

        require_extra("models", "the registry (leave it out with --no-register)", "mlflow")
    current = load_scorer(chosen_folder(settings, champion))
    if archive:
        with (
            Console(stderr=True).status("reading the archive"),
            archived_period(settings, *moments(since, until)) as period,
        ):
            log, labels = period.feature_log()
    else:
        log, labels = read_feature_log(ctx, days)
    with Console(stderr=True).status("training"):
        result = train_next(
            log,
            labels,
            current,
            output or Path("var/models") / f"{current.contract.name}-next",
            created_at=SystemClock().now_ms(),
            git_commit=git_commit(Path(__file__).resolve().parents[1]),
        )
    number = None
    if register_model:
        from models.registry import Registry
        from models.registry.model_card_store import register as register_version

        number = register_version(Registry(settings.registry), Path(result.folder), SystemClock().now_ms()).number
    if as_json:
        typer.echo(msgspec.json.encode({**msgspec.to_builtins(result), "number": number}).decode())
    else:
        _show(result, current.version, number)


def _show(result: "Retraining", champion: str, number: int | None) -> None:
    from vedette.clock import format_time

    comparison = result.comparison
    week = f"{format_time(comparison.test_start)[:10]} to {format_time(comparison.test_end)[:10]}"
    typer.echo(f"{result.model} written to {result.folder}" + (f", version {number}" if number else ""))
    typer.echo(
        f"on {week}: average precision {comparison.challenger.average_precision:.3f}, {champion} "
        f"{comparison.champion.average_precision:.3f}, difference {comparison.difference:+.3f} "
        f"({comparison.low:+.3f} to {comparison.high:+.3f})"
    )
    if comparison.champion_trained_on_test:
        typer.echo(f"{champion} was trained on some of that week, which flatters it")
    if comparison.promote:
        typer.echo(f"significantly better; `vedette models trial start {number or result.model} --fraction 0.2 …`")
    else:
        typer.echo("not significantly better; keep the champion")
