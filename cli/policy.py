"""`vedette policy`: put a policy into force while the workers run."""

from pathlib import Path

import typer

from cli.context import settings_of


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    policy = typer.Typer(no_args_is_help=True, help="The policy in force.")
    policy.command()(check)
    policy.command()(apply)
    app.add_typer(policy, name="policy")


def check(file: Path = typer.Argument(help="the policy, a YAML file")) -> None:
    """Check a policy file against its form and against the features there are."""
    from features import NAMES
    from streams.policy import load_policy
    from streams.scoring import EVENT_COLUMNS

    policy = load_policy(file, {*NAMES, *EVENT_COLUMNS})
    typer.echo(f"{policy.name} is valid")


def apply(
    ctx: typer.Context,
    file: Path = typer.Argument(help="the policy, a YAML file"),
    reason: str = typer.Option(..., "--reason", help="why; goes to the workers with the policy"),
    approver: str = typer.Option(..., "--approver", help="who decides this"),
) -> None:
    """Put a policy into force in all workers, between two batches."""
    from streams.control import publish
    from streams.service import policy_record
    from vedette.clock import SystemClock

    record = policy_record(file, approver=approver, reason=reason, at=SystemClock().now_ms())
    publish(settings_of(ctx), record)
    typer.echo(f"in force: {record.name}")
