"""Several decided batches as one: the fixed cost of alerts, feature log and activity is paid once for all of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from decisions.rollout import BatchDecision
from features.columns import Columns
from streams.batch import DecidedBatch
from streams.payments import Payments

_MOST = 1_000
"""Maximum number of payments in a joined batch: beyond it the fixed cost no longer matters."""


def joined_batches(batches: Sequence[DecidedBatch]) -> Iterator[DecidedBatch]:
    """Yield batches; those of one rollout that follow each other are joined unless that becomes large.

    Args:
        batches: Batches whose payments have the decisions that stand.
    """
    group: list[DecidedBatch] = []
    for batch in batches:
        if group and (batch.rollout is not group[0].rollout or _payments([*group, batch]) > _MOST):
            yield _joined(group)
            group = []
        group.append(batch)
    if group:
        yield _joined(group)


def _payments(batches: Sequence[DecidedBatch]) -> int:
    return sum(len(batch.payments.batch) for batch in batches)


def _joined(batches: Sequence[DecidedBatch]) -> DecidedBatch:
    first, *others = batches
    if not others:
        return first
    starts = np.cumsum([0, *(len(batch.payments.batch) for batch in batches[:-1])]).tolist()
    rows = np.concatenate([batch.scored_rows + start for batch, start in zip(batches, starts, strict=True)])
    payments = Payments(**_fields([batch.payments for batch in batches]))
    return DecidedBatch(
        rollout=first.rollout,
        decided=_decision([batch.decided for batch in batches]),
        payments=payments,
        scored=payments.scored(rows),
        scored_rows=rows,
        partitions={number: part for batch in batches for number, part in batch.partitions.items()},
    )


def _decision(decisions: Sequence[BatchDecision]) -> BatchDecision:
    """Return what is logged of several decisions by one rollout."""
    return replace(
        decisions[0],
        messages=[message for decided in decisions for message in decided.messages],
        alerts=[alert for decided in decisions for alert in decided.alerts],
        log=lambda: _logs([decided.log() for decided in decisions]),
        score=np.concatenate([decided.score for decided in decisions]),
        action=np.concatenate([decided.action for decided in decisions]),
    )


def _logs(logs: Sequence[Mapping[str, pa.Array]]) -> dict[str, pa.Array]:
    return {name: pa.concat_arrays([log[name] for log in logs]) for name in logs[0]}


def _fields(parts: Sequence[Any]) -> dict[str, Any]:
    """Return the fields of several objects of one class, each put together in order."""
    return {name: _concatenated([vars(part)[name] for part in parts]) for name in vars(parts[0])}


def _concatenated(values: Sequence[Any]) -> Any:
    match values[0]:
        case np.ndarray():
            return np.concatenate(values)
        case pa.RecordBatch():
            return pa.concat_batches(values)
        case Columns():
            return Columns(**_fields(values))
        case _:
            return [each for value in values for each in value]
