"""`vedette prove`: past decisions made again from archived events, and compared bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.cells import cell
from cli.context import settings_of

if TYPE_CHECKING:
    from features.backfill import Backfill
    from streams.history.prove import Proof
    from vedette.settings import Settings


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(prove)


def prove(
    ctx: typer.Context,
    transaction: str = typer.Argument("", metavar="[TRANSACTION]", help="id of the payment"),
    sample: int = typer.Option(0, "--sample", metavar="N", min=0, help="N decided payments drawn at random instead"),
    seed: int = typer.Option(0, "--seed", metavar="S", help="with --sample: which ones"),
    since: str = typer.Option("", "--from", metavar="DATE", help="with --sample: event time at or after this, UTC"),
    until: str = typer.Option("", "--to", metavar="DATE", help="with --sample: event time before this, UTC"),
    history: list[Path] = typer.Option(
        [],
        "--history",
        metavar="FILE",
        help="what `vedette backfill --load` loaded before the first archived event [default: [archive] history]",
    ),
    mapping: str = typer.Option(
        "", "--mapping", metavar="NAME", help="mapping of its columns [default: [archive] history_mapping]"
    ),
    labels: Path | None = typer.Option(
        None, "--labels", metavar="FILE", help="labels of the history [default: [archive] history_labels]"
    ),
    as_json: bool = typer.Option(False, "--json", help="print one JSON object for each payment"),
) -> None:
    """Make decisions of the archive again, from the events before them, and say whether they are the same.

    Features, score, rules, reasons and action are compared bit for bit, by the kernels of this release and the versions
    of model and policy that decided; live features are taken as logged. The exit code is 1 if a decision differs or
    cannot be made again.
    """
    import msgspec

    from adapters.extras import require_extra
    from vedette.clock import parse_time
    from vedette.errors import InputError

    require_extra("archive", "the archive", "deltalake")
    from archive.evidence import evidence, labels_before, transactions_before
    from archive.past import control_records
    from archive.search import Archive, Question
    from streams.history.proofs import prove_decisions

    if bool(transaction) == bool(sample):
        raise InputError("which payments are to be proven?", remedy="name one TRANSACTION, or give --sample N")
    settings = settings_of(ctx)
    question = Question(
        transaction=transaction,
        since=parse_time(since) if since else None,
        until=parse_time(until) if until else None,
        limit=sample or 100,
    )
    own = settings.archive
    files = history or [Path(file) for file in own.history]
    known = labels or (Path(own.history_labels) if own.history_labels else None)
    with Archive(settings.archive) as archive:
        found = evidence(archive, question, seed=seed if sample else None)
        start = (
            _loaded(settings, files, mapping or own.history_mapping, known) if files and len(found.payments) else None
        )
        proofs = list(
            prove_decisions(
                settings, control_records(archive), found, labels_before(archive, found),
                transactions_before(archive, found), start,
            )
        ) if len(found.payments) else []  # fmt: skip
    if as_json:
        for proof in proofs:
            typer.echo(msgspec.json.encode({"same": proof.same, **msgspec.to_builtins(proof)}).decode())
    else:
        _show(proofs, transaction)
        if start is None and any(proof.differences for proof in proofs):
            typer.echo(
                "events before the first archived one are unknown: --history names what was loaded of them", err=True
            )
    if not (proofs and all(proof.same for proof in proofs)):
        raise typer.Exit(1)


def _loaded(settings: Settings, files: list[Path], mapping: str, labels: Path | None) -> Backfill:
    """Return the state of a history as `vedette backfill --load` computes it."""
    from itertools import chain

    from features.identity import identity_of
    from features.loaded import loaded_state
    from producers.files import read_batches
    from producers.mapping import load_mapping
    from vedette.card_numbers import CardNumbers

    known, cards = load_mapping(mapping), CardNumbers(settings.cards)
    batches = chain.from_iterable(read_batches(file, known, on_reject=lambda _: None, cards=cards) for file in files)
    return loaded_state(
        batches, label_delay=settings.features.label_delay, identity=identity_of(settings.identity), labels=labels
    )


def _show(proofs: list[Proof], transaction: str) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not proofs:
        console.print(f"the archive has no payment {transaction}" if transaction else "the archive has no such payment")
        return
    differ = [proof for proof in proofs if not proof.same]
    if differ:
        table = Table("transaction", "field", "archived", "recomputed")
        for proof in differ:
            if proof.problem:
                table.add_row(cell(proof.transaction_id), "", "", cell(proof.problem))
            for each in proof.differences:
                table.add_row(cell(proof.transaction_id), each.field, cell(repr(each.archived)), repr(each.recomputed))
        console.print(table)
    first = proofs[0]
    if len(proofs) == 1 and first.same:
        console.print(
            f"the same, bit for bit: {first.features} features computed again and {first.live} live ones taken as "
            f"logged, by {first.model or 'no model'}, {first.policy}"
        )
    else:
        live = max(proof.live for proof in proofs)
        console.print(f"{len(proofs) - len(differ):,} of {len(proofs):,} the same, bit for bit ({live} live features "
                      "of each taken as logged)")  # fmt: skip
