"""`vedette whatif`: what another model or policy would have decided."""

from __future__ import annotations

from collections import Counter, deque
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.context import settings_of
from cli.progress import bars

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cli.progress import Bar
    from features.history import History
    from streams.whatif import Comparison


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command()(whatif)


def whatif(
    ctx: typer.Context,
    file: Path | None = typer.Argument(None, help="a .csv or .parquet file [default: the transactions topic]"),
    mapping: str = typer.Option("vedette", "--mapping", metavar="NAME", help="what the file's columns mean"),
    since: str = typer.Option("", "--from", metavar="DATE", help="compare from here on; all before builds the state"),
    until: str = typer.Option("", "--to", metavar="DATE", help="leave out what happened then or later"),
    warm_up: str = typer.Option(
        "", "--warm-up", metavar="SPAN", help="build the state from this long before --from (45d) [default: from all]"
    ),
    model: Path | None = typer.Option(None, "--model", metavar="DIR", help="the model in question [default: in force]"),
    policy: Path | None = typer.Option(None, "--policy", metavar="FILE", help="the policy [default: in force]"),
    output: Path | None = typer.Option(None, "--output", metavar="FILE", help="write the transactions that change"),
    as_json: bool = typer.Option(False, "--json", help="print the summary as JSON"),
) -> None:
    """List every decision that another model or policy would change, touching neither state nor topics.

    Transactions of the topic are compared with what was decided about them, those of a file with what the model and
    policy in force would decide.
    """
    import json
    import tempfile
    from contextlib import ExitStack

    from features.frame import write_frame
    from producers.align import parse_span
    from streams.bootstrap import load_judge
    from streams.past import past
    from streams.whatif import Comparison, compare
    from vedette.clock import parse_time
    from vedette.events import MAX_TIME

    settings = settings_of(ctx)
    in_force = (Path(settings.worker.model), Path(settings.worker.policy))
    new = load_judge(model or in_force[0], policy or in_force[1])
    start_ms = parse_time(since) if since else 0
    end_ms = parse_time(until) if until else MAX_TIME
    state_ms = max(start_ms - parse_span(warm_up), 0) if warm_up else 0
    result, rejected = Comparison(), Counter[str]()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vedette-whatif-")))
        bar = stack.enter_context(bars())
        if file:
            old = load_judge(*in_force)
            history = stack.enter_context(_of_file(file, mapping, scratch, state_ms, end_ms, bar, rejected))
        else:
            old = None
            history = stack.enter_context(
                past(
                    settings, scratch, start_ms=state_ms, end_ms=end_ms, extra=new.scorer.extra,
                    on_read=lambda topic, messages: bar(f"reading {topic}", messages),
                )
            )  # fmt: skip
        changed = compare(history.in_order(), old, new, result, since=start_ms, on_progress=bar("replaying", None))
        if output:
            write_frame(output, changed)
        else:
            deque(changed, maxlen=0)
    summary = {
        "old": old.about if old else "as decided",
        "new": new.about,
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


def _show(result: Comparison) -> None:
    from vedette.money import format_amount

    typer.echo(f"{result.transactions:,} transactions, {result.moves.total():,} decisions change")
    if result.undecided:
        typer.echo(f"{result.undecided:,} more have no decision to compare with")
    for move, times in sorted(result.moves.items()):
        money = ", ".join(format_amount(minor, currency) for currency, minor in result.money[move].items())
        typer.echo(f"  {move:<22} {times:>8,}   {money}")
    for name, side in (("old", result.old), ("new", result.new)):
        recall = f", recall {side.frauds_flagged / result.frauds:.1%}" if result.frauds else ""
        busiest = max(side.alerts.values(), default=0)
        typer.echo(f"{name}: {side.flagged / result.days:,.1f} alerts a day, {busiest:,} on the busiest{recall}")
