"""`vedette whatif`: decisions that another model or policy would have made."""

from __future__ import annotations

from collections import Counter, deque
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.archived import ARCHIVE, archived_period
from cli.context import settings_of
from cli.progress import bars

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cli.progress import Bar
    from features.history import History
    from streams.history.whatif import DecisionComparison


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command()(whatif)


def whatif(
    ctx: typer.Context,
    file: Path | None = typer.Argument(None, help="a .csv or .parquet file [default: the transactions topic]"),
    mapping: str = typer.Option("vedette", "--mapping", metavar="NAME", help="mapping of the file's columns"),
    archive: bool = ARCHIVE,
    since: str = typer.Option(
        "", "--from", metavar="DATE", help="start of the comparison; earlier transactions build the state"
    ),
    until: str = typer.Option("", "--to", metavar="DATE", help="leave out transactions at this time or later"),
    warm_up: str = typer.Option(
        "", "--warm-up", metavar="SPAN", help="build the state from this long before --from (45d) [default: from all]"
    ),
    model: Path | None = typer.Option(None, "--model", metavar="DIR", help="model to try [default: see below]"),
    policy: Path | None = typer.Option(None, "--policy", metavar="FILE", help="policy to try [default: see below]"),
    output: Path | None = typer.Option(
        None, "--output", metavar="FILE", help="write the transactions whose decision changes"
    ),
    as_json: bool = typer.Option(False, "--json", help="print the summary as JSON"),
) -> None:
    """List every decision that another model or policy would change, without touching state or topics.

    Transactions of the topic or the archive are compared with their recorded decisions; model and policy default to
    those that the control topic has in force, or had last when it was archived. Transactions of a file are compared
    with the decisions of the model and policy of [decisions] in the settings, which are also the defaults.
    """
    import json
    import tempfile
    from contextlib import ExitStack

    from features.frame import write_frame
    from producers.aligner import parse_span
    from streams.history.control_state import read_control
    from streams.history.strategy_in_force import strategy_in_force
    from streams.history.topic_history import past
    from streams.history.whatif import DecisionComparison, compare
    from vedette.clock import parse_time
    from vedette.errors import InputError
    from vedette.events import MAX_TIME

    if file and archive:
        raise InputError("there are two sources", remedy="give either FILE or --archive")
    settings = settings_of(ctx)
    start_ms = parse_time(since) if since else 0
    end_ms = parse_time(until) if until else MAX_TIME
    state_ms = max(start_ms - parse_span(warm_up), 0) if warm_up else 0
    result, rejected = DecisionComparison(), Counter[str]()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vedette-whatif-")))
        bar = stack.enter_context(bars())
        archived = stack.enter_context(archived_period(settings, state_ms, end_ms)) if archive else None
        control = archived.control() if archived else None if file else read_control(settings)
        new = strategy_in_force(settings, control, model=model, policy=policy)
        old = strategy_in_force(settings, None) if file else None
        if archived:
            batches = archived.history(new.scorer.extra)
        elif file:
            batches = stack.enter_context(_of_file(file, mapping, scratch, state_ms, end_ms, bar, rejected)).in_order()
        else:
            history = stack.enter_context(
                past(
                    settings, scratch, start_ms=state_ms, end_ms=end_ms, extra=new.scorer.extra,
                    on_read=lambda topic, messages: bar(f"reading {topic}", messages),
                )
            )  # fmt: skip
            batches = history.in_order()
        changed = compare(batches, old, new, result, since=start_ms, on_progress=bar("replaying", None))
        if output:
            write_frame(output, changed)
        else:
            deque(changed, maxlen=0)
    summary = {
        "old": old.versions if old else "as decided",
        "new": new.versions,
        "rejected": rejected.total(),
        "result": result.summary(),
    }
    if as_json:
        typer.echo(json.dumps(summary))
    else:
        _show(result)


@contextmanager
def _of_file(
    file: Path, mapping: str, scratch: Path, start_ms: int, end_ms: int, bar: Bar, rejected: Counter[str]
) -> Iterator[History]:
    from features.history import opened
    from producers.files import count_rows, read_batches
    from producers.mapping import load_mapping

    batches = read_batches(
        file,
        load_mapping(mapping),
        start_ms=start_ms,
        end_ms=end_ms,
        on_reject=lambda reject: rejected.update([reject.column]),
    )
    with opened(batches, scratch, on_read=bar("reading", count_rows(file))) as history:
        yield history


def _show(result: DecisionComparison) -> None:
    from vedette.money import format_amount

    typer.echo(f"{result.transactions:,} transactions, {result.moves.total():,} decisions change")
    if result.undecided:
        typer.echo(f"{result.undecided:,} more have no decision to compare with")
    for move, times in sorted(result.moves.items()):
        money = ", ".join(format_amount(minor, currency) for currency, minor in result.money[move].items())
        typer.echo(f"  {move:<22} {times:>8,}   {money}")
    for name, side in (("old", result.old), ("new", result.new)):
        busiest = max(side.alerts.values(), default=0)
        line = f"{name}: {side.flagged / result.days:,.1f} alerts per day, {busiest:,} on the busiest"
        if result.frauds:
            line += f", recall {side.frauds_flagged / result.frauds:.1%}"
            line += f", precision {side.frauds_flagged / side.flagged:.1%}" if side.flagged else ""
            missed = ", ".join(format_amount(minor, currency) for currency, minor in sorted(side.lost.items()))
            line += f", fraud not flagged {missed or 'none'}"
        typer.echo(line)
    if not result.frauds:
        typer.echo("no transaction is known to be fraud, so there is neither recall nor precision")
