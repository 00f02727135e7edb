"""`vedette worker` and `vedette dlq`."""

from typing import TYPE_CHECKING, Any

import typer

from cli.context import settings_of

if TYPE_CHECKING:
    from streams.dlq import DeadLetter

_REASON = typer.Option("", "--reason", metavar="TEXT", help="only those whose reason contains this")
_JSON = typer.Option(False, "--json", help="print JSON")
_SHOWN_BYTES = 60


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command()(worker)
    group = typer.Typer(help="Messages that could not be read: why, and their way back.", no_args_is_help=True)
    group.command("list")(list_letters)
    group.command()(show)
    group.command()(replay)
    app.add_typer(group, name="dlq")


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


def list_letters(
    ctx: typer.Context,
    fresh: bool = typer.Option(False, "--fresh", help="only those not replayed yet"),
    reason: str = _REASON,
    as_json: bool = _JSON,
) -> None:
    """List the dead letters with the reason of each."""
    import json

    from rich.console import Console
    from rich.table import Table

    from streams.dlq import letters
    from vedette.clock import format_time

    found = list(letters(settings_of(ctx), fresh=fresh, reason=reason))
    if as_json:
        typer.echo(json.dumps([_plain(letter) for letter in found]))
        return
    table = Table("id", "set aside", "from", "reason", "begins with", box=None)
    for letter in found:
        table.add_row(
            letter.id, format_time(letter.at), f"{letter.topic} {letter.source}", letter.reason, _start(letter.value)
        )
    Console(markup=False).print(table if found else "no dead letters", markup=False)


def show(
    ctx: typer.Context, identifier: str = typer.Argument(metavar="ID", help="as `vedette dlq list` shows")
) -> None:
    """Show one dead letter whole, as JSON; bytes that are no UTF-8 as backslash escapes."""
    import json

    from streams.dlq import find

    typer.echo(json.dumps(_plain(find(settings_of(ctx), identifier)), indent=2))


def replay(
    ctx: typer.Context,
    reason: str = _REASON,
    again: bool = typer.Option(False, "--again", help="also those that were replayed before"),
    dry_run: bool = typer.Option(False, "--dry-run", help="say what would be sent, and send nothing"),
    as_json: bool = _JSON,
) -> None:
    """Send dead letters back to the topics they came from, after what refused them has been mended.

    What was sent back once is not sent again, unless it was chosen by --reason: that is not remembered.
    """
    import json

    from streams.dlq import letters
    from streams.dlq import replay as send

    settings = settings_of(ctx)
    chosen = list(letters(settings, fresh=not again, reason=reason))
    if not dry_run:
        send(settings, chosen, remember=not reason)
    if as_json:
        typer.echo(json.dumps({"replayed": 0 if dry_run else len(chosen), "chosen": [letter.id for letter in chosen]}))
        return
    for letter in chosen:
        typer.echo(f"{letter.id} to {letter.topic}: {_start(letter.value)}")
    typer.echo(f"{len(chosen)} dead letters {'would be' if dry_run else 'were'} sent back")


def _plain(letter: "DeadLetter") -> dict[str, Any]:
    import msgspec

    def text(content: bytes | None) -> str | None:
        return None if content is None else content.decode(errors="backslashreplace")

    values = msgspec.structs.asdict(letter)
    return {"id": letter.id, **values, "key": text(letter.key), "value": text(letter.value)}


def _start(value: bytes | None) -> str:
    text = (value or b"").decode(errors="backslashreplace")
    return text if len(text) <= _SHOWN_BYTES else text[: _SHOWN_BYTES - 1] + "…"
