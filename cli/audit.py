"""`vedette audit`: is the audit log whole, and what does it say."""

import json
from pathlib import Path

import typer

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
    head: str = typer.Option("", metavar="NUMBER:HASH", help="what an earlier verify said, noted elsewhere"),
    as_json: bool = typer.Option(False, "--json", help="print JSON"),
) -> None:
    """Check that no record was changed, left out, moved or cut off; exit code 1 if one was."""
    import msgspec
    from rich.console import Console
    from rich.progress import Progress

    from alerts import audit

    settings = settings_of(ctx).audit
    path = Path(settings.path)
    with Progress(console=Console(stderr=True), transient=True, disable=as_json) as bar:
        task = bar.add_task("reading", total=path.stat().st_size if path.exists() else None)
        verdict = audit.verify(settings, head=head, progress=lambda count: bar.advance(task, count))
    if as_json:
        typer.echo(msgspec.json.encode(verdict))
    elif verdict.ok:
        typer.echo(f"{verdict.records} records, none changed, left out or moved; head {verdict.head}")
    else:
        typer.echo(
            f"record {verdict.broken} {verdict.reason}; the {verdict.records} before it are as they were written"
        )
    raise typer.Exit(0 if verdict.ok else 1)


def show(
    ctx: typer.Context,
    last: int = typer.Option(20, min=0, help="at most so many, the latest; 0 for all"),
    event: str = typer.Option("", help="only events that begin so, as in `call.`"),
    subject: str = typer.Option("", help="only about this, as in `account:17`"),
    actor: str = typer.Option("", help="only by this one"),
    as_json: bool = typer.Option(False, "--json", help="print JSON lines"),
) -> None:
    """Print records; they are not checked, `vedette audit verify` does that."""
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from alerts import audit
    from vedette.clock import format_time

    records = audit.show(settings_of(ctx).audit, last=last, event=event, subject=subject, actor=actor)
    if as_json:
        for record in records:
            typer.echo(msgspec.json.encode(record))
        return
    table = Table("number", "time", "actor", "event", "subject", "details")
    for record in records:
        texts = (record.actor, record.event, record.subject, json.dumps(record.details) if record.details else "")
        table.add_row(str(record.n), format_time(record.at), *(text.replace("[", r"\[") for text in texts))
    Console().print(table)
