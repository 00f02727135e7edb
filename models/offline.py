"""Scores without a stream: features by the same kernel, from the file itself and from history before it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.backfill import Backfill
from models.explain import reasons
from models.scorer import Scorer
from vedette.events import EXTRA

Explained = Literal["flagged", "all", "none"]


@dataclass(frozen=True)
class ScoredBatch:
    """n payments with their scores.

    Attributes:
        transactions: As they came.
        rows: float64 [n, features of the catalogue + extra], what the model saw.
        score: float64 [n], probability of fraud.
        flagged: bool [n], whether the score reaches the model's threshold of lowest cost.
        reasons: Per payment, the strongest first; none for those not explained.
    """

    transactions: pa.RecordBatch
    rows: NDArray[np.float64]
    score: NDArray[np.float64]
    flagged: NDArray[np.bool_]
    reasons: list[list[str]]


def score(
    scorer: Scorer, batches: Iterable[pa.RecordBatch], *, history: Iterable[pa.RecordBatch] = (), explain: Explained
) -> Iterator[ScoredBatch]:
    """Score payments in order of event time, batch by batch.

    Args:
        scorer: The model.
        batches: Canonical batches, as `Backfill.advance` takes them, with `extra.*` columns if the model needs them.
        history: Payments before them, which only build state.
        explain: Which payments get reasons.

    Raises:
        InputError: The payments are not in order of event time.
    """
    state = Backfill()
    for batch in history:
        state.advance(batch)
    for batch in batches:
        rows = _with_extra(scorer, batch, state.advance(batch))
        probability = scorer.predict(rows)
        flagged = probability >= scorer.threshold
        chosen = {"flagged": flagged, "all": np.ones(len(batch), np.bool_), "none": np.zeros(len(batch), np.bool_)}
        said: list[list[str]] = [[] for _ in range(len(batch))]
        which = np.flatnonzero(chosen[explain])
        for row, told in zip(which.tolist(), reasons(scorer, rows[which]), strict=True):
            said[row] = told
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
