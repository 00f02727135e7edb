"""`vedette preview`: decisions without any effect, for the gateway."""

import typer

from cli.context import settings_of


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    group = typer.Typer(help="Decide payments without publishing anything, for the gateway.", no_args_is_help=True)
    group.command()(run)
    app.add_typer(group, name="preview")


def run(ctx: typer.Context) -> None:
    """Run the preview service until Ctrl-C or SIGTERM: the gateway asks it at `[preview] host` and `port`."""
    from adapters.logs import configure_logs
    from streams.preview_bootstrap import run_preview
    from vedette import SystemClock

    settings = settings_of(ctx)
    configure_logs()
    run_preview(settings, SystemClock())
