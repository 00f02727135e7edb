"""`vedette worker`: the streaming worker."""

import typer

from cli.context import settings_of


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command()(worker)


def worker(ctx: typer.Context) -> None:
    """Run the streaming worker: transactions in, decisions and alerts out, until Ctrl-C or SIGTERM.

    Start as many as there are partitions at most; they share the partitions among themselves.
    """
    from cli.logs import configure_logs
    from streams.bootstrap import run_worker
    from vedette import SystemClock

    settings = settings_of(ctx)
    configure_logs()
    run_worker(settings, SystemClock())
