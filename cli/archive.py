"""`vedette archive`: topics stored as tables."""

from pathlib import Path

import typer

from cli.context import settings_of

_JSON = typer.Option(False, "--json", help="print one JSON object as the last line")


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(help="Keep topics as Delta tables, beyond their retention.", no_args_is_help=True)
    group.command()(run)
    group.command()(compact)
    group.command()(export)
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


def export(
    ctx: typer.Context,
    folder: Path = typer.Argument(metavar="FOLDER", help="where the files are written"),
    since: str = typer.Option("", "--from", metavar="DATE", help="event time at or after this, UTC"),
    until: str = typer.Option("", "--to", metavar="DATE", help="event time before this, UTC"),
    postgres: str = typer.Option(
        "", "--postgres", metavar="URL", help="write the tables to this PostgreSQL as well; the password from ~/.pgpass"
    ),
    as_json: bool = _JSON,
) -> None:
    """Write payments, accounts, merchants, rules, models and days for BI, with masked identifiers: see docs/bi.md.

    The exit code is 1 if the archive has no payment of the period.
    """
    import json

    from adapters.extras import require_extra
    from cli.archived import moments

    require_extra("archive", "the archive", "deltalake")
    if postgres:
        require_extra("postgres", "PostgreSQL", "psycopg")
    from archive.search import Archive, Question
    from archive.star import export_star

    settings = settings_of(ctx)
    start, end = moments(since, until)
    key = settings.identity.key
    with Archive(settings.archive) as archive:
        rows = export_star(archive, Question(since=start, until=end), folder, key.value if key else None)
    if postgres:
        from archive.star_postgres import load_star

        load_star(folder, postgres)
    if as_json:
        typer.echo(json.dumps({"rows": rows}))
    else:
        for table, count in rows.items():
            typer.echo(f"{table}: {count:,} rows")
        if key is None:
            typer.echo("[identity] key is not set: masks are others at the next export", err=True)
    if not rows["payments"]:
        raise typer.Exit(1)
