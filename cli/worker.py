"""`vedette worker`: run the streaming worker."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import Context, settings_of

if TYPE_CHECKING:
    from stack.process import Child


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(worker)


def worker(
    ctx: typer.Context,
    processes: Annotated[
        int, typer.Option(min=1, help="number of workers to run as processes of their own, for as many cores")
    ] = 1,
) -> None:
    """Run the streaming worker: transactions in, decisions and alerts out, until Ctrl-C or SIGTERM.

    Start at most as many workers as there are partitions; they share the partitions.
    """
    from adapters.logs import configure_logs

    settings = settings_of(ctx)
    configure_logs()
    if processes == 1:
        from streams.bootstrap import run_worker
        from vedette import SystemClock

        run_worker(settings, SystemClock())
        return
    from cli.signals import stopped_by_signals
    from stack.process import free_ports
    from streams.processes import run_processes

    with stopped_by_signals() as ending:
        code = run_processes(settings, lambda variables: _child(ctx, variables), free_ports(processes), ending)
    raise typer.Exit(code)


def _child(ctx: typer.Context, variables: Mapping[str, str]) -> "Child":
    """Start a worker with the same settings, but for these variables of the environment."""
    import os

    from stack.process import Child
    from stack.worker import VEDETTE

    context = ctx.find_object(Context)
    file = ["--settings", context.settings_file] if context and context.settings_file else []
    return Child([*VEDETTE, *file, "worker"], log=None, environ={**os.environ, **variables})
