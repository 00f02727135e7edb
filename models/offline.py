"""Scoring without a stream: the same kernel computes features from the file and from the history before it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.backfill import Backfill
from models.explain import reasons
from models.scorer import Scorer
from vedette.clock import DAY
from vedette.events import EXTRA, Reason

Explained = Literal["flagged", "all", "none"]


@dataclass(frozen=True)
class ScoredBatch:
    """n payments with their scores.

    Attributes:
        transactions: The payments as received.
        rows: float64 [n, features of the catalogue + extra], the input of the model.
        score: float64 [n], probability of fraud.
        flagged: bool [n], whether the score reaches the model's threshold of lowest cost.
        reasons: Reasons per payment, the strongest first; empty for payments that are not explained.
    """

    transactions: pa.RecordBatch
    rows: NDArray[np.float64]
    score: NDArray[np.float64]
    flagged: NDArray[np.bool_]
    reasons: list[list[Reason]]


def score(
    scorer: Scorer, batches: Iterable[pa.RecordBatch], *, history: Iterable[pa.RecordBatch] = (), explain: Explained
) -> Iterator[ScoredBatch]:
    """Score payments in order of event time, batch by batch.

    Args:
        scorer: The model.
        batches: Canonical batches, as `Backfill.advance` takes them, with `extra.*` columns if the model needs them.
        history: Earlier payments, which only build state.
        explain: Selects the payments that get reasons.

    Raises:
        InputError: The payments are not in order of event time.
    """
    state = Backfill(label_delay=scorer.contract.label_delay_days * DAY)
    for batch in history:
        state.advance(batch)
    for batch in batches:
        rows = _with_extra(scorer, batch, state.advance(batch))
        if not state.pays.all():  # refunds and the like are part of the history, and not scored
            batch, rows = batch.filter(pa.array(state.pays)), rows[state.pays]  # noqa: PLW2901
        probability = scorer.predict(rows)
        flagged = probability >= scorer.threshold
        chosen = {"flagged": flagged, "all": np.ones(len(batch), np.bool_), "none": np.zeros(len(batch), np.bool_)}
        said: list[list[Reason]] = [[] for _ in range(len(batch))]
        which = np.flatnonzero(chosen[explain])
        currencies = batch.column("currency").take(pa.array(which)).to_pylist()
        for row, found in zip(which.tolist(), reasons(scorer, rows[which], currencies), strict=True):
            said[row] = found
        yield ScoredBatch(batch, rows, probability, flagged, said)


def _with_extra(scorer: Scorer, batch: pa.RecordBatch, features: NDArray[np.float64]) -> NDArray[np.float64]:
    there = set(batch.schema.names)
    columns = [
        batch.column(EXTRA + name).to_numpy(zero_copy_only=False).astype(np.float64)
        if EXTRA + name in there
        else np.full(len(batch), np.nan)
        for name in scorer.extra
    ]
    return np.column_stack([features, *columns]) if columns else features
