"""`vedette models`: versions, their cards, and which of them is in service."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.context import settings_of
from cli.watch import ab

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.folder import Contract
    from models.registry import Registry, Version
    from vedette.control import Models

_JSON = typer.Option(False, "--json", help="print JSON")
_VERSION = typer.Argument(metavar="VERSION", help="number, name@version, version, champion, challenger or previous")
_REASON = typer.Option(..., "--reason", help="why; kept in the registry and on the card")
_APPROVER = typer.Option(..., "--approver", help="who decides this")
_PUBLISH = typer.Option(True, "--publish/--no-publish", help="tell the workers at once")


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    models = typer.Typer(no_args_is_help=True, help="Versions of the model, and which of them is in service.")
    models.command("register")(register_folder)
    models.command("list")(list_versions)
    for command in (show, card, compare, ab, challenge, withdraw, promote, rollback, archive, publish):
        models.command()(command)
    app.add_typer(models, name="models")


def register_folder(
    ctx: typer.Context, folder: Path = typer.Argument(help="as `vedette train` writes it"), as_json: bool = _JSON
) -> None:
    """Take a model folder into the registry as a new version, with its card."""
    import msgspec

    from models.registry.papers import register as take_in
    from vedette.clock import SystemClock

    version = take_in(_registry(ctx), folder, SystemClock().now_ms())
    if as_json:
        typer.echo(msgspec.json.encode(version).decode())
    else:
        typer.echo(f"{version.ref} is version {version.number}; `vedette models card {version.number}` shows its card")


def list_versions(ctx: typer.Context, as_json: bool = _JSON) -> None:
    """List the versions and what each is used for."""
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from vedette.clock import format_time

    registry = _registry(ctx)
    versions, now = registry.versions(), registry.in_force()
    if as_json:
        typer.echo(msgspec.json.encode({"versions": versions, "in_force": now}).decode())
        return
    table = Table("", "version", "standing", "registered", box=None)
    for version in versions:
        share = f", {now.share:.0%} of the accounts" if now and version.standing == "challenger" else ""
        registered = format_time(version.registered_at)[:16].replace("T", " ")
        table.add_row(str(version.number), str(version.ref), version.standing + share, registered)
    Console(markup=False).print(table if versions else "no versions; `vedette models register DIR` adds one")


def show(ctx: typer.Context, version: str = _VERSION, as_json: bool = _JSON) -> None:
    """Show a version: what it learned from, its figures, and every change of what it is used for."""
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from models.registry.mlflow import metrics
    from vedette.clock import format_time

    registry = _registry(ctx)
    found = registry.find(version)
    folder, contract = _contract(registry, found)
    changes = [change for change in registry.changes() if change.version == str(found.ref)]
    if as_json:
        about = {"version": found, "folder": str(folder), "contract": contract, "changes": changes}
        typer.echo(msgspec.json.encode(about).decode())
        return
    table = Table(show_header=False, box=None)
    table.add_row("version", f"{found.ref}, number {found.number}, {found.standing}")
    table.add_row("trained on", f"{format_time(contract.trained_from)[:10]} to {format_time(contract.trained_to)[:10]}")
    table.add_row("payments", f"{contract.training_rows:,}, {contract.training_frauds:,} frauds")
    for name, value in metrics(contract).items():
        table.add_row(name.replace("_", " "), f"{value:,.4f}")
    table.add_row("code", contract.git_commit or "unknown")
    table.add_row("folder", str(folder))
    for change in changes:
        table.add_row(format_time(change.at)[:16], f"{change.act} by {change.approver}: {change.reason}")
    Console(markup=False).print(table)


def card(
    ctx: typer.Context,
    version: str = _VERSION,
    html: Path | None = typer.Option(None, "--html", metavar="FILE", help="write the card as a page"),
    answers: Path | None = typer.Option(
        None, "--answers", metavar="FILE", help='TOML of `id = "text"` for what a person must fill in'
    ),
    purpose: str = typer.Option("", "--purpose", help="what this version is for"),
) -> None:
    """Print a version's card as Markdown, after taking down what people say about it."""
    from models.registry.papers import CARD_HTML, CARD_MARKDOWN, fill_in

    registry = _registry(ctx)
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
    first: str = _VERSION,
    second: str = _VERSION,
    as_json: bool = _JSON,
) -> None:
    """Compare two versions: figures of their held-out weeks and of validation, and how they were trained."""
    import json

    from rich.console import Console
    from rich.table import Table

    from models.registry.card import differences
    from models.registry.mlflow import metrics

    registry = _registry(ctx)
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


def challenge(
    ctx: typer.Context,
    version: str = _VERSION,
    share: float = typer.Option(0.0, "--share", min=0, max=1, help="of the accounts it decides for; 0: shadow only"),
    most_alerts: float = typer.Option(
        2.0, "--most-alerts", min=1.01, help="times the champion's before it is withdrawn"
    ),
    least_payments: int = typer.Option(2_000, "--least-payments", min=100, help="scored by both before that is judged"),
    reason: str = _REASON,
    approver: str = _APPROVER,
    send: bool = _PUBLISH,
) -> None:
    """Have a version score in the champion's shadow, or decide for a share of the accounts."""
    from models.registry import changes
    from vedette.control import Guard

    guard = Guard(most_alerts=most_alerts, least_payments=least_payments)
    act = partial(changes.challenge, share=share, guard=guard, approver=approver, reason=reason)
    _change(ctx, act, send, version)


def withdraw(ctx: typer.Context, reason: str = _REASON, approver: str = _APPROVER, send: bool = _PUBLISH) -> None:
    """End the challenge: the champion decides for all accounts."""
    from models.registry import changes

    _change(ctx, partial(changes.withdraw, approver=approver, reason=reason), send)


def promote(
    ctx: typer.Context,
    version: str = _VERSION,
    reason: str = _REASON,
    approver: str = _APPROVER,
    send: bool = _PUBLISH,
) -> None:
    """Make a version the champion."""
    from models.registry import changes

    _change(ctx, partial(changes.promote, approver=approver, reason=reason), send, version)


def rollback(ctx: typer.Context, reason: str = _REASON, approver: str = _APPROVER, send: bool = _PUBLISH) -> None:
    """Return to the champion before this one; a challenger is withdrawn."""
    from models.registry import changes

    _change(ctx, partial(changes.rollback, approver=approver, reason=reason), send)


def archive(ctx: typer.Context, version: str = _VERSION, reason: str = _REASON, approver: str = _APPROVER) -> None:
    """Put a version away, so that it can no longer be promoted."""
    from models.registry import changes
    from models.registry.papers import refresh
    from vedette.clock import SystemClock

    registry = _registry(ctx)
    found = registry.find(version)
    changes.archive(registry, found, approver=approver, reason=reason, at=SystemClock().now_ms())
    refresh(registry, found)
    typer.echo(f"{found.ref} is archived")


def publish(ctx: typer.Context) -> None:
    """Send what the registry says is in force to the control topic again."""
    from streams.control import publish as send
    from vedette.errors import InputError

    now = _registry(ctx).in_force()
    if now is None:
        raise InputError("there is no champion yet", remedy="`vedette models promote` makes one")
    send(settings_of(ctx), now)
    _say(now)


def _registry(ctx: typer.Context) -> "Registry":
    from models.registry import Registry

    return Registry(settings_of(ctx).registry)


def _contract(registry: "Registry", version: "Version") -> "tuple[Path, Contract]":
    from models.folder import read_contract

    folder = registry.folder(version)
    return folder, read_contract(folder)


def _answers(file: Path | None) -> dict[str, str]:
    import tomllib

    import msgspec

    from vedette.errors import InputError

    try:
        return msgspec.convert(tomllib.loads(file.read_text(encoding="utf-8")) if file else {}, dict[str, str])
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: {error}", remedy='write lines such as sr-owner = "Jane Doe"') from error


def _change(ctx: typer.Context, act: "Callable[..., Models]", send: bool, *versions: str) -> None:
    """Change what is in force: the registry first, then the cards, then the workers."""
    from models.registry.papers import refresh
    from streams.control import publish as send_out
    from vedette.clock import SystemClock

    registry = _registry(ctx)
    models = act(registry, *map(registry.find, versions), at=SystemClock().now_ms())
    for ref in filter(None, (models.champion, models.challenger)):
        refresh(registry, registry.find(str(ref)))
    if send:
        send_out(settings_of(ctx), models)
    _say(models)


def _say(models: "Models") -> None:
    part = f", {models.challenger} for {models.share:.0%} of the accounts" if models.challenger else ""
    typer.echo(f"in force: {models.champion}{part}")
