"""`vedette audit`: verify and show the audit log."""

import json
from pathlib import Path

import typer

from cli.cells import cell
from cli.context import settings_of


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    audit = typer.Typer(
        no_args_is_help=True,
        help="The log of every step of challenges, call checks and access, and of what people do to incidents.",
    )
    audit.command()(verify)
    audit.command()(show)
    app.add_typer(audit, name="audit")


def verify(
    ctx: typer.Context,
    head: str = typer.Option("", metavar="NUMBER:HASH", help="head printed by an earlier verify and stored elsewhere"),
    as_json: bool = typer.Option(False, "--json", help="print JSON"),
) -> None:
    """Check that no record was changed, removed, moved or cut off; exit code 1 if one was."""
    import msgspec
    from rich.console import Console
    from rich.progress import Progress

    from access import audit

    settings = settings_of(ctx).audit
    path = Path(settings.path)
    with Progress(console=Console(stderr=True), transient=True, disable=as_json) as bar:
        task = bar.add_task("reading", total=path.stat().st_size if path.exists() else None)
        found = audit.verify(settings, head=head, progress=lambda count: bar.advance(task, count))
    if as_json:
        typer.echo(msgspec.json.encode(found))
    elif found.ok:
        typer.echo(f"{found.records} records, none changed, removed or moved; head {found.head}")
    else:
        typer.echo(f"record {found.broken} {found.reason}; the {found.records} before it are unchanged")
    raise typer.Exit(0 if found.ok else 1)


def show(
    ctx: typer.Context,
    last: int = typer.Option(20, min=0, help="number of records to show, the latest; 0 for all"),
    event: str = typer.Option("", help="only events that start with this, as in `call.`"),
    subject: str = typer.Option("", help="only records of this subject, as in `account:17`"),
    actor: str = typer.Option("", help="only records of this actor"),
    as_json: bool = typer.Option(False, "--json", help="print JSON lines"),
) -> None:
    """Print records without checking them; `vedette audit verify` checks them."""
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from access import audit
    from vedette.clock import format_time

    records = audit.show(settings_of(ctx).audit, last=last, event=event, subject=subject, actor=actor)
    if as_json:
        for record in records:
            typer.echo(msgspec.json.encode(record))
        return
    table = Table("number", "time", "actor", "event", "subject", "details")
    for record in records:
        texts = (record.actor, record.event, record.subject, json.dumps(record.details) if record.details else "")
        table.add_row(str(record.n), format_time(record.at), *(cell(text) for text in texts))
    Console().print(table)
