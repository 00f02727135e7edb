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
    """Check a policy file against its schema and the feature catalogue."""
    from decisions.policy_file import load_policy
    from decisions.policy_record import COLUMNS

    policy = load_policy(file, COLUMNS)
    typer.echo(f"{policy.name} is valid")


def apply(
    ctx: typer.Context,
    file: Path = typer.Argument(help="the policy, a YAML file"),
    reason: str = typer.Option(..., "--reason", help="reason, published with the policy"),
    approver: str = typer.Option(..., "--approver", help="person who approves the change"),
) -> None:
    """Put a policy into force in all workers, between two batches."""
    from decisions.policy_record import policy_files, policy_record
    from streams.control_publisher import publish
    from vedette.clock import SystemClock

    record = policy_record(policy_files(file), approver=approver, reason=reason, at=SystemClock().now_ms())
    publish(settings_of(ctx), record)
    typer.echo(f"in force: {record.name}")
