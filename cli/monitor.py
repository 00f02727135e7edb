"""`vedette monitor`: what no service can say of itself."""

import typer

from cli.context import settings_of


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(help="Watch the deployment's stores and files for Prometheus.", no_args_is_help=True)
    group.callback()(lambda: None)
    group.command()(run)
    app.add_typer(group, name="monitor")


def run(ctx: typer.Context) -> None:
    """Serve metrics about Redis, topics, messages, audit logs, certificates and disks until Ctrl-C or SIGTERM.

    Where [monitor] recipients names some, it also takes the alerts that Prometheus' Alertmanager posts and has them
    sent by the notifier.
    """
    from monitoring import run as run_monitor

    run_monitor(settings_of(ctx))
