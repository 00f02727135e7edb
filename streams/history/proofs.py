"""Proof of archived decisions: what is read of the archive, replayed and compared."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import pyarrow as pa

from features.backfill import Backfill
from features.identity import identity_of
from features.signals import with_live_by_name
from streams.history.prove import ArchivedDecision, Proof, Prover
from streams.history.replay import ArrivedLabels, EventReplay, Recomputed, entities_of
from streams.history.versions import PastVersions
from vedette.control import ControlRecord
from vedette.settings import Settings


class ProvablePayments(Protocol):
    """Payments with what was decided on them, see archive.evidence.Evidence."""

    @property
    def payments(self) -> pa.Table:
        """Rows of `payments`."""

    @property
    def decisions(self) -> pa.Table:
        """Their standing decisions, with the row in `payments` as `place`."""

    @property
    def features(self) -> pa.Table:
        """Their rows of the feature log, likewise."""

    @property
    def names(self) -> list[str]:
        """Columns of `features` that are features of the catalogue."""


def prove_decisions(
    settings: Settings, changes: Sequence[ControlRecord], found: ProvablePayments, labels: pa.Table,
    transactions: Iterable[pa.RecordBatch], start: Backfill | None = None,
) -> Iterator[Proof]:  # fmt: skip
    """Yield the proof of the decision on each payment, in their order.

    Args:
        settings: Settings of the deployment.
        changes: The control records, the oldest first.
        found: The payments.
        labels: The labels that had arrived by the last payment, see archive.evidence.labels_before.
        transactions: The transactions likewise, see archive.evidence.transactions_before.
        start: The history that was loaded before the first archived event.
    """
    versions = PastVersions(settings, changes)
    identity = identity_of(settings.identity)
    prover = Prover(settings.features.label_delay, identity, versions.scorer, versions.policy)
    archived = _archived(found)
    rows = found.payments.select(["transaction_id", "account_id"]).to_pylist()
    recomputed = recompute(settings, found, labels, transactions, start, set(archived))
    for row, payment in enumerate(rows):
        if row in recomputed:
            yield prover.prove(recomputed[row], archived[row])
        else:
            problem = "no decision on it is archived" if row not in archived else "the worker would not take it"
            yield Proof(**payment, problem=problem)


def recompute(
    settings: Settings, found: ProvablePayments, labels: pa.Table, transactions: Iterable[pa.RecordBatch],
    start: Backfill | None, wanted: set[int],
) -> dict[int, Recomputed]:  # fmt: skip
    """Return the wanted rows of payments with their features, see prove_decisions; none for one that is not valid."""
    identity = identity_of(settings.identity)
    places = zip(*(found.payments[name].to_pylist() for name in ("kafka_partition", "kafka_offset")), strict=True)
    row_at = {place: row for row, place in enumerate(places) if row in wanted}
    replay = EventReplay(
        ArrivedLabels.of(labels), settings.features.label_delay, identity, settings.worker.max_future_s * 1000,
        start or Backfill(), settings.topics.partitions,
    )  # fmt: skip
    features = replay.features(transactions, set(row_at), entities_of(found.payments, identity))
    return {row_at[place]: one for place, one in features}


def _archived(found: ProvablePayments) -> dict[int, ArchivedDecision]:
    """Return the archived decisions by row of the payments."""
    logged: dict[int, dict[str, Any]] = {row["place"]: row for row in found.features.to_pylist()}
    result = {}
    for decision in found.decisions.to_pylist():
        row = logged.get(decision["place"], {})
        features = {name: row[name] for name in found.names if row and row[name] is not None}
        seen = with_live_by_name(features, row.get("signals"), decision["currency"])
        result[decision["place"]] = ArchivedDecision(decision, seen, row.get("features_hash", ""))
    return result
