"""Decisions that were already there, in the place of those that were just made."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from decisions.policy_form import ACTIONS
from decisions.rollout import BatchDecision
from decisions.strategy import alert
from features.columns import Columns
from features.signals import fill_live
from streams.batch import DecidedBatch
from streams.own_decisions import DecisionReader, Payment, StandingDecision, standing_decisions
from vedette.events import Alert

APPROVE = "approve"


def payments_in(batch: pa.RecordBatch) -> list[Payment]:
    """Return the account and transaction of each row."""
    accounts, transactions = (batch.column(name).to_pylist() for name in ("account_id", "transaction_id"))
    return list(zip(accounts, transactions, strict=True))


def see_what_was_seen(
    standing: Mapping[int, StandingDecision],
    signals: NDArray[np.int64],
    columns: Columns,
    features: NDArray[np.float64],
) -> None:
    """Replace live signals and features of some rows, in place, by those that their standing decisions saw.

    Args:
        standing: Standing decision by row.
        signals: int64[n, SIGNALS].
        columns: The payments, n rows.
        features: float64[n, features].
    """
    for row, decided in standing.items():
        if decided.signals is not None:
            signals[row] = decided.signals
    fill_live(signals, columns.scale, features)


def take_over(
    decided: BatchDecision, batch: pa.RecordBatch, standing: Mapping[int, StandingDecision]
) -> BatchDecision:  # fmt: skip
    """Return the decisions on n transactions, those of some rows replaced by the standing ones.

    Args:
        decided: The decisions that were just made; the messages of the replaced ones are not to be published.
        batch: The transactions.
        standing: Standing decision by row.
    """
    score, action = decided.score.copy(), decided.action.copy()
    for row, known in standing.items():
        score[row], action[row] = known.decision.score, ACTIONS.index(known.decision.action)
    replaced = {known.decision.transaction_id for known in standing.values()}
    alerts = [made for made in decided.alerts if made.transaction_id not in replaced]

    def log() -> dict[str, pa.Array]:
        columns = decided.log()
        model, role = columns["model"].to_pylist(), columns["role"].to_pylist()
        for row, known in standing.items():
            model[row] = known.decision.model
            role[row] = "challenger" if known.decision.model == decided.versions.get("challenger") else "champion"
        changed = {"model": pa.array(model, pa.string()), "role": pa.array(role, pa.string())}
        return columns | changed | {"action": pa.array(action)}

    return replace(
        decided, score=score, action=action, alerts=[*alerts, *alerts_of(batch, standing)], log=log
    )  # fmt: skip


def alerts_of(batch: pa.RecordBatch, standing: Mapping[int, StandingDecision]) -> list[Alert]:
    """Return the alerts of standing decisions: their worker may have died before it published them."""
    flagged = {row: known.decision for row, known in standing.items() if known.decision.action != APPROVE}
    return [alert(decision, batch, row) for row, decision in flagged.items()]


def find_standing(batch: DecidedBatch, decided: Iterable[tuple[int, int]], decisions: DecisionReader) -> None:
    """Find the decisions of other workers on a batch's payments that came before its own, from the gaps they leave.

    Args:
        batch: The batch; its `standing` is filled.
        decided: Partition and offset of its own decisions.
        decisions: Reads what is in a gap.

    Raises:
        UnavailableError: The broker does not answer; the call can be repeated.
    """
    own: dict[int, set[int]] = {number: set() for number in batch.partitions}
    for number, offset in decided:
        own[number].add(offset)
    for number, partition in batch.partitions.items():
        known = partition.decided.known
        partition.decided.acknowledged(own[number])
        if gap := partition.decided.unknown():
            # From before the batch, since a decision of its own before the gap stands against one in it.
            found = standing_decisions(decisions.read(number, range(known, gap.stop)))
            partition.foreign |= {p: first for p, first in found.items() if first.offset not in own[number]}
            partition.decided.seen(gap)
    foreign = {p: known for partition in batch.partitions.values() for p, known in partition.foreign.items()}
    if not foreign:
        return
    for row, payment in enumerate(payments_in(batch.payments.batch)):
        if payment in foreign and row not in batch.taken_over:
            batch.standing[row] = foreign[payment]


def with_standing(batch: DecidedBatch) -> DecidedBatch:
    """Return a batch with the decisions of others that stand, and with what they saw, in the place of its own."""
    payments, standing = batch.payments, batch.standing
    if not standing:
        return batch
    see_what_was_seen(standing, payments.signals, payments.columns, payments.features)
    scored = payments.scored(batch.scored_rows)
    of_scored = {place: standing[row] for place, row in enumerate(batch.scored_rows.tolist()) if row in standing}
    return replace(batch, scored=scored, decided=take_over(batch.decided, scored.batch, of_scored))
