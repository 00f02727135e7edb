"""`vedette archive`: topics stored as tables."""

import typer

from cli.context import settings_of

_JSON = typer.Option(False, "--json", help="print one JSON object as the last line")


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(help="Keep topics as Delta tables, beyond their retention.", no_args_is_help=True)
    group.command()(run)
    group.command()(compact)
    app.add_typer(group, name="archive")


def run(
    ctx: typer.Context,
    until_idle: float = typer.Option(
        0.0, "--until-idle", metavar="SECONDS", min=0.0, help="end once no message has arrived for this long; 0: never"
    ),
    as_json: bool = _JSON,
) -> None:
    """Archive all topics until Ctrl-C or SIGTERM, each message exactly once.

    Metrics, health and readiness are on [archive] metrics_port, and trouble with broker or storage is tried again after
    a pause; with --until-idle, it ends the command.
    """
    import json

    from adapters.extras import require_extra
    from adapters.logs import service_log

    require_extra("archive", "the archive", "deltalake")
    from archive.endpoint import run_service
    from archive.service import run as run_until_idle
    from cli.signals import stopped_by_signals
    from vedette.clock import SystemClock

    settings, clock, log = settings_of(ctx), SystemClock(), service_log("archive")
    if until_idle:
        with stopped_by_signals() as stop:
            progress = run_until_idle(settings, clock=clock, log=log, stop=stop, until_idle_s=until_idle)
    else:
        progress = run_service(settings, clock=clock, log=log)
    if as_json:
        seconds = max(progress.committed_at - progress.started_at, 0) / 1000
        typer.echo(json.dumps({"rows": progress.rows, "rejected": progress.rejected, "seconds": seconds}))
        return
    for topic, rows in sorted(progress.rows.items()):
        rejected = progress.rejected[topic]
        typer.echo(f"{topic}: {rows:,} rows" + (f", {rejected:,} unreadable messages" if rejected else ""))
    if not progress.rows:
        typer.echo("nothing new to archive")


def compact(ctx: typer.Context, as_json: bool = _JSON) -> None:
    """Merge small files, delete what is older than [archive] retention_days, and remove unneeded files."""
    import json
    from dataclasses import asdict

    from adapters.extras import require_extra

    require_extra("archive", "the archive", "deltalake")
    from archive.maintenance import compact as compact_archive
    from vedette.clock import SystemClock

    done = compact_archive(settings_of(ctx).archive, SystemClock())
    if as_json:
        typer.echo(json.dumps({"tables": [asdict(table) for table in done]}))
        return
    for table in done:
        expired = f", {table.expired:,} rows expired" if table.expired else ""
        typer.echo(f"{table.table}: {table.before:,} files -> {table.after:,}{expired}")
