"""`vedette models`: versions, their cards, and which of them are in service."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli import trial
from cli.change import APPROVER, PUBLISH, REASON, VERSION, change, print_in_force, registry_of
from cli.context import settings_of

if TYPE_CHECKING:
    from models.folder import Contract
    from models.registry import Registry, Version
    from vedette.control import Models

_JSON = typer.Option(False, "--json", help="print JSON")
_BROKER_TIMEOUT_S = 2.0


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    models = typer.Typer(no_args_is_help=True, help="Versions of the model, and which of them are in service.")
    models.command("register")(register_folder)
    models.command("list")(list_versions)
    for command in (show, card, compare, promote, rollback, archive, publish):
        models.command()(command)
    trial.register(models)
    app.add_typer(models, name="models")


def register_folder(
    ctx: typer.Context,
    folder: Path = typer.Argument(help="model folder, as `vedette train` writes it"),
    as_json: bool = _JSON,
) -> None:
    """Register a model folder as a new version, with its card."""
    import msgspec

    from models.registry.model_card_store import register as register_version
    from vedette.clock import SystemClock

    version = register_version(registry_of(ctx), folder, SystemClock().now_ms())
    if as_json:
        typer.echo(msgspec.json.encode(version).decode())
    else:
        typer.echo(f"{version.ref} is version {version.number}; `vedette models card {version.number}` shows its card")


def list_versions(ctx: typer.Context, as_json: bool = _JSON) -> None:
    """List the versions and their standing, and report where the workers differ from the registry."""
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from vedette.clock import format_time

    registry = registry_of(ctx)
    versions, now = registry.versions(), registry.in_force()
    followed, problem = _followed(ctx)
    if as_json:
        typer.echo(
            msgspec.json.encode(
                {"versions": versions, "in_force": now, "control": followed, "control_unknown": problem or None}
            ).decode()
        )
        return
    table = Table("", "version", "standing", "registered", box=None)
    for version in versions:
        standing: str = version.standing
        if standing == "challenger" and followed and followed.withdrawn == version.ref:
            standing += ", withdrawn by the guardrail"
        elif standing == "challenger" and now:
            standing += f", {now.rollout_fraction:.0%} of the accounts"
        registered = format_time(version.registered_at)[:16].replace("T", " ")
        table.add_row(str(version.number), str(version.ref), standing, registered)
    Console(markup=False).print(table if versions else "no versions; `vedette models register DIR` adds one")
    for note in _notes(now, followed, problem):
        Console(stderr=True, soft_wrap=True).print(note, style="yellow", markup=False, highlight=False)


def _followed(ctx: typer.Context) -> "tuple[Models | None, str]":
    """Return the models that the control topic names, or None and why they are unknown."""
    from streams.history.control_state import read_control
    from vedette.errors import InputError, UnavailableError

    try:
        return read_control(settings_of(ctx), _BROKER_TIMEOUT_S).models, ""
    except (InputError, UnavailableError) as error:
        return None, str(error)


def _notes(registered: "Models | None", followed: "Models | None", problem: str) -> list[str]:
    """Return notes on differences between the models of the workers and those of the registry."""
    from streams.model_changes import gap
    from vedette.clock import format_time

    if problem:
        return [f"What the workers follow is unknown: {problem}"] if registered else []
    found = gap(registered, followed)
    if found == "unpublished":
        return ["The workers do not follow the registry yet: `vedette models publish` notifies them."]
    if not found or followed is None:
        return []
    if found == "differs":
        return [f"The workers follow {followed.champion}, not the registry: `vedette models publish` notifies them."]
    return [
        (
            f"The guardrail withdrew {followed.withdrawn} at {format_time(followed.at)[:19]} UTC: {followed.reason}. "
            "`vedette models trial end` records it in the registry."
        )
    ]


def show(ctx: typer.Context, version: str = VERSION, as_json: bool = _JSON) -> None:
    """Show a version: its training data, its figures, and every change of its standing."""
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from models.registry.mlflow import metrics
    from vedette.clock import format_time

    registry = registry_of(ctx)
    found = registry.find(version)
    folder, contract = _contract(registry, found)
    changes = [change for change in registry.changes() if change.version == str(found.ref)]
    if as_json:
        shown = {"version": found, "folder": str(folder), "contract": contract, "changes": changes}
        typer.echo(msgspec.json.encode(shown).decode())
        return
    table = Table(show_header=False, box=None)
    table.add_row("version", f"{found.ref}, number {found.number}, {found.standing}")
    table.add_row("trained on", f"{format_time(contract.trained_from)[:10]} to {format_time(contract.trained_to)[:10]}")
    table.add_row("payments", f"{contract.training_rows:,}, {contract.training_frauds:,} frauds")
    for name, value in metrics(contract).items():
        table.add_row(name.replace("_", " "), f"{value:,.4f}")
    table.add_row("code", contract.git_commit or "unknown")
    table.add_row("folder", str(folder))
    for entry in changes:
        act = entry.act.replace("_", " ")
        table.add_row(format_time(entry.at)[:16], f"{act} by {entry.approver}: {entry.reason}")
    Console(markup=False).print(table)


def card(
    ctx: typer.Context,
    version: str = VERSION,
    html: Path | None = typer.Option(None, "--html", metavar="FILE", help="write the card as a page"),
    answers: Path | None = typer.Option(
        None, "--answers", metavar="FILE", help='TOML file of `id = "text"`: answers to checklist items'
    ),
    purpose: str = typer.Option("", "--purpose", help="purpose of this version"),
) -> None:
    """Print a version's card as Markdown, after filling in answers."""
    from models.registry.model_card_store import CARD_HTML, CARD_MARKDOWN, fill_in

    registry = registry_of(ctx)
    found = registry.find(version)
    if answers or purpose:
        fill_in(registry, found, purpose=purpose, answers=_answers(answers))
    if html:
        html.write_text(registry.attached(found, CARD_HTML) or "", encoding="utf-8")
        typer.echo(f"card of {found.ref} written to {html}")
    else:
        typer.echo(registry.attached(found, CARD_MARKDOWN))


def compare(
    ctx: typer.Context,
    first: str = VERSION,
    second: str = VERSION,
    as_json: bool = _JSON,
) -> None:
    """Compare two versions: their figures on held-out weeks and validation, and how they were trained."""
    import json

    from rich.console import Console
    from rich.table import Table

    from models.registry.card import differences
    from models.registry.mlflow import metrics

    registry = registry_of(ctx)
    versions = [registry.find(name) for name in (first, second)]
    contracts = [_contract(registry, version)[1] for version in versions]
    figures = [metrics(contract) for contract in contracts]
    names = [name for name in figures[0] if name in figures[1]]
    if as_json:
        sides = [
            {"version": str(version.ref), "metrics": side} for version, side in zip(versions, figures, strict=True)
        ]
        typer.echo(json.dumps({"versions": sides, "differences": differences(*contracts)}))
        return
    table = Table("", *(str(version.ref) for version in versions), "difference", box=None)
    for name in names:
        was, is_ = figures[0][name], figures[1][name]
        table.add_row(name.replace("_", " "), f"{was:,.4f}", f"{is_:,.4f}", f"{is_ - was:+,.4f}")
    for what, before, now in differences(*contracts):
        table.add_row(what, before, now, "")
    Console(markup=False).print(table)


def promote(
    ctx: typer.Context,
    version: str = VERSION,
    reason: str = REASON,
    approver: str = APPROVER,
    publish: bool = PUBLISH,
) -> None:
    """Make a version the champion."""
    from models.registry import promotion

    change(ctx, partial(promotion.promote, approver=approver, reason=reason), publish, version)


def rollback(ctx: typer.Context, reason: str = REASON, approver: str = APPROVER, publish: bool = PUBLISH) -> None:
    """Return to the previous champion; a trial ends.

    The workers are notified first, based on the record that they follow; then the registry records the change.
    """
    from models.registry import promotion
    from streams.model_changes import roll_back
    from vedette.clock import SystemClock

    if not publish:
        change(ctx, partial(promotion.rollback, approver=approver, reason=reason), publish)
        return
    at, (followed, _) = SystemClock().now_ms(), _followed(ctx)
    roll_back(
        settings_of(ctx), lambda: registry_of(ctx), followed, approver=approver, reason=reason, at=at,
        on_changed=print_in_force,
    )  # fmt: skip


def archive(
    ctx: typer.Context,
    version: str = VERSION,
    reason: str = REASON,
    approver: str = APPROVER,
    publish: bool = PUBLISH,
) -> None:
    """Archive a version, so that it can no longer be promoted."""
    from models.registry.model_card_store import refresh
    from models.registry.promotion import archive as archive_version
    from vedette.clock import SystemClock

    registry = registry_of(ctx)
    found = registry.find(version)
    models = archive_version(registry, found, approver=approver, reason=reason, at=SystemClock().now_ms())
    if models and publish:
        from streams.control_publisher import publish as publish_record

        publish_record(settings_of(ctx), models)
    refresh(registry, found)
    typer.echo(f"{found.ref} is archived")


def publish(ctx: typer.Context) -> None:
    """Publish the models in force in the registry to the control topic again."""
    from streams.model_changes import publish_again

    print_in_force(publish_again(settings_of(ctx), registry_of(ctx)))


def _contract(registry: "Registry", version: "Version") -> "tuple[Path, Contract]":
    from models.folder import read_contract

    folder = registry.folder(version)
    return folder, read_contract(folder)


def _answers(file: Path | None) -> dict[str, str]:
    import tomllib

    import msgspec

    from vedette.errors import InputError
    from vedette.text import read_text

    try:
        return msgspec.convert(tomllib.loads(read_text(file)) if file else {}, dict[str, str])
    except ValueError as error:
        raise InputError(f"{file}: {error}", remedy='write lines such as sr-owner = "Jane Doe"') from error
