"""Changes of the model in service, for `vedette models` and `vedette models trial`."""

from typing import TYPE_CHECKING

import typer

from cli.context import settings_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.registry import Registry
    from vedette.control import Models

VERSION = typer.Argument(metavar="VERSION", help="number, name@version, version, champion, challenger or previous")
REASON = typer.Option(..., "--reason", help="reason, recorded in the registry and on the card")
APPROVER = typer.Option(..., "--approver", help="person who approves the change")
PUBLISH = typer.Option(True, "--publish/--no-publish", help="notify the workers at once")


def registry_of(ctx: typer.Context) -> "Registry":
    """Return the registry of the settings."""
    from models.registry import Registry

    return Registry(settings_of(ctx).registry)


def change(ctx: typer.Context, act: "Callable[..., Models]", publish: bool, *versions: str) -> None:
    """Change what is in force: in the registry, on the cards and, if `publish` is set, in the workers."""
    from streams.model_changes import change_models
    from vedette.clock import SystemClock

    registry = registry_of(ctx)
    found, at = [registry.find(version) for version in versions], SystemClock().now_ms()
    change_models(
        settings_of(ctx),
        registry,
        lambda opened: act(opened, *found, at=at),
        published=publish,
        on_changed=print_in_force,
    )


def print_in_force(models: "Models") -> None:
    """Print champion and challenger."""
    trial = f", {models.challenger} for {models.rollout_fraction:.0%} of the accounts" if models.challenger else ""
    typer.echo(f"in force: {models.champion}{trial}")
