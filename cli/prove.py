"""`vedette prove`: past decisions made again from archived events, and compared bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cli.cells import cell
from cli.context import settings_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from archive.evidence import Evidence
    from archive.search import Archive
    from features.backfill import Backfill
    from streams.history.prove import ArchivedDecision, Proof
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
        [], "--history", metavar="FILE", help="what `vedette backfill --load` loaded before the first archived event"
    ),
    mapping: str = typer.Option("vedette", "--mapping", metavar="NAME", help="mapping of the history's columns"),
    labels: Path | None = typer.Option(None, "--labels", metavar="FILE", help="labels of the history"),
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
    from archive.evidence import evidence
    from archive.search import Archive, Question

    if bool(transaction) == bool(sample):
        raise InputError("which payments are to be proven?", remedy="name one TRANSACTION, or give --sample N")
    settings = settings_of(ctx)
    question = Question(
        transaction=transaction,
        since=parse_time(since) if since else None,
        until=parse_time(until) if until else None,
        limit=sample or 100,
    )
    start = _loaded(settings, history, mapping, labels) if history else None
    with Archive(settings.archive) as archive:
        found = evidence(archive, question, seed=seed if sample else None)
        proofs = list(_proofs(settings, archive, found, start)) if len(found.payments) else []
    if as_json:
        for proof in proofs:
            typer.echo(msgspec.json.encode({"same": proof.same, **msgspec.to_builtins(proof)}).decode())
    else:
        _show(proofs, transaction)
    if not (proofs and all(proof.same for proof in proofs)):
        raise typer.Exit(1)


def _loaded(settings: Settings, files: list[Path], mapping: str, labels: Path | None) -> Backfill:
    """Return the state of a history as `vedette backfill --load` computes it."""
    import tempfile
    from collections import deque
    from itertools import chain

    from features.backfill import Backfill, backfill
    from features.history import opened
    from features.identity import identity_of
    from producers.files import read_batches
    from producers.mapping import load_mapping

    known = load_mapping(mapping)
    state = Backfill(label_delay=settings.features.label_delay, identity=identity_of(settings.identity))
    batches = chain.from_iterable(read_batches(file, known, on_reject=lambda _: None) for file in files)
    with (
        tempfile.TemporaryDirectory(prefix="vedette-prove-") as scratch,
        opened(batches, Path(scratch), labels=labels) as history,
    ):
        deque(backfill(history.in_order(), state), maxlen=0)
    return state


def _proofs(settings: Settings, archive: Archive, found: Evidence, start: Backfill | None) -> Iterator[Proof]:
    from archive.evidence import labels_before, transactions_before
    from archive.past import control_records
    from features.backfill import Backfill
    from features.identity import identity_of
    from streams.history.prove import Proof, Prover
    from streams.history.replay import ArrivedLabels, EventReplay, entities_of
    from streams.history.versions import PastVersions

    identity = identity_of(settings.identity)
    versions = PastVersions(settings, control_records(archive))
    prover = Prover(settings.features.label_delay, identity, versions.scorer, versions.policy)
    payments = found.payments.to_pylist()
    places = {(row["kafka_partition"], row["kafka_offset"]): place for place, row in enumerate(payments)}
    archived = _archived(found)
    replay = EventReplay(
        ArrivedLabels.of(labels_before(archive, found)),
        settings.features.label_delay,
        identity,
        settings.worker.max_future_s * 1000,
        start or Backfill(),
        settings.topics.partitions,
    )
    wanted = {place for place, row in places.items() if row in archived}
    recomputed = dict(
        replay.features(transactions_before(archive, found), wanted, entities_of(found.payments, identity))
    )
    for place, row in places.items():
        if place in recomputed:
            yield prover.prove(recomputed[place], archived[row])
        else:
            problem = "no decision on it is archived" if row not in archived else "the worker would not take it"
            yield Proof(
                transaction_id=payments[row]["transaction_id"], account_id=payments[row]["account_id"], problem=problem
            )


def _archived(found: Evidence) -> dict[int, ArchivedDecision]:
    """Return the archived decisions by row of the payments."""
    from features.signals import with_live_by_name
    from streams.history.prove import ArchivedDecision

    logged: dict[int, dict[str, Any]] = {row["place"]: row for row in found.features.to_pylist()}
    result = {}
    for decision in found.decisions.to_pylist():
        row = logged.get(decision["place"], {})
        features = {name: row[name] for name in found.names if row and row[name] is not None}
        seen = with_live_by_name(features, row.get("signals"), decision["currency"])
        result[decision["place"]] = ArchivedDecision(decision, seen, row.get("features_hash", ""))
    return result


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
