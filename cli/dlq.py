"""`vedette dlq`: list, show and replay dead letters."""

from typing import TYPE_CHECKING, Any

import typer

from cli.cells import cell
from cli.context import settings_of
from cli.exit_codes import require_some

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from streams.history.dead_letters import DeadLetter

_REASON = typer.Option("", "--reason", metavar="TEXT", help="only those whose reason contains this")
_JSON = typer.Option(False, "--json", help="print JSON")
_DECRYPT = typer.Option(
    False, "--decrypt", help="decrypt letters with card numbers, by the key in [cards] dead_letter_key_file"
)
_SHOWN_BYTES = 60


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    group = typer.Typer(help="List, show and replay messages that could not be read.", no_args_is_help=True)
    group.command("list")(list_letters)
    group.command()(show)
    group.command()(replay)
    app.add_typer(group, name="dlq")


def list_letters(
    ctx: typer.Context,
    fresh: bool = typer.Option(False, "--fresh", help="only those not replayed yet"),
    reason: str = _REASON,
    limit: int = typer.Option(50, "--limit", metavar="N", min=1, help="maximum number of letters to list"),
    oldest_first: bool = typer.Option(False, "--oldest-first", help="list the oldest letters instead of the newest"),
    decrypt: bool = _DECRYPT,
    as_json: bool = _JSON,
) -> None:
    """List the dead letters with the reason of each, newest first."""
    import json

    from rich.console import Console
    from rich.table import Table

    from streams.history.dead_letters import letters
    from vedette.clock import format_time

    shown, total = select_letters(
        letters(settings_of(ctx), fresh=fresh, reason=reason, decrypt=decrypt), limit, oldest_first
    )
    if as_json:
        typer.echo(json.dumps([_plain(letter) for letter in shown]))
        return
    console = Console(soft_wrap=True)
    if shown:
        table = Table("id", "dead-lettered", "from", "reason", "starts with", box=None)
        for letter in shown:
            texts = (letter.id, format_time(letter.at), f"{letter.topic} {letter.source}", letter.reason)
            table.add_row(*(cell(text) for text in (*texts, _start(letter))))
        console.print(table)
    more = "" if len(shown) == total else f"; --limit {total} lists all"
    console.print(f"{len(shown):,} of {total:,} dead letters{more}", highlight=False)


def select_letters(found: "Iterable[DeadLetter]", limit: int, oldest_first: bool) -> "tuple[list[DeadLetter], int]":
    """Return the newest or oldest letters in that order, and how many there are; only these are kept in memory."""
    import heapq

    total = 0

    def counted() -> "Iterator[DeadLetter]":
        nonlocal total
        for letter in found:
            total += 1
            yield letter

    select = heapq.nsmallest if oldest_first else heapq.nlargest
    chosen = select(limit, counted(), key=lambda letter: (letter.at, letter.partition, letter.offset))
    return chosen, total


def show(
    ctx: typer.Context,
    identifier: str = typer.Argument(metavar="ID", help="id from `vedette dlq list`"),
    decrypt: bool = _DECRYPT,
) -> None:
    """Show one dead letter in full, as JSON; bytes that are not UTF-8 as backslash escapes."""
    import json

    from streams.history.dead_letters import find

    typer.echo(json.dumps(_plain(find(settings_of(ctx), identifier, decrypt=decrypt)), indent=2))


def replay(
    ctx: typer.Context,
    reason: str = _REASON,
    again: bool = typer.Option(False, "--again", help="include letters that were already replayed"),
    dry_run: bool = typer.Option(False, "--dry-run", help="print what would be sent, and send nothing"),
    decrypt: bool = _DECRYPT,
    as_json: bool = _JSON,
) -> None:
    """Replay dead letters to their original topics, after the cause of the rejection has been fixed.

    A letter that was already replayed is not sent again, unless it was chosen with --reason, which is not recorded.
    Letters with card numbers need --decrypt, and are sent with tokens; where card numbers are refused they stay.
    """
    import json

    from streams.history.dead_letters import letters, replayable
    from streams.history.dead_letters import replay as send

    settings = settings_of(ctx)
    found = list(letters(settings, fresh=not again, reason=reason, decrypt=decrypt))
    chosen, left = replayable(settings, found)
    if not dry_run:
        send(settings, chosen, remember=not (reason or left))
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "replayed": 0 if dry_run else len(chosen),
                    "chosen": [letter.id for letter in chosen],
                    "left": [letter.id for letter in left],
                }
            )
        )
    else:
        for letter in chosen:
            typer.echo(f"{letter.id} to {letter.topic}: {_start(letter)}")
        typer.echo(f"{len(chosen)} dead letters {'would be' if dry_run else 'were'} replayed")
        if left:
            typer.echo(
                f"{len(left)} with card numbers stay: encrypted ones need --decrypt, and all need tokens"
                ' ([cards] numbers = "tokenise"); of masked ones no more is left',
                err=True,
            )
    require_some(len(chosen), "there is no such dead letter")


def _plain(letter: "DeadLetter") -> dict[str, Any]:
    import msgspec

    def text(content: bytes | None) -> str | None:
        return None if content is None else content.decode(errors="backslashreplace")

    values = msgspec.structs.asdict(letter)
    return {"id": letter.id, **values, "key": text(letter.key), "value": text(letter.value)}


def _start(letter: "DeadLetter") -> str:
    if letter.encrypted:
        return "(encrypted)"
    text = (letter.value or b"").decode(errors="backslashreplace")
    return text if len(text) <= _SHOWN_BYTES else text[: _SHOWN_BYTES - 1] + "…"
