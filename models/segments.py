"""Metrics of a model on segments of the payments: by amount, channel, age of the account, and country.

Counted at the threshold of lowest cost on rows that were not trained on, and stored as counts, so that folds can be
pooled.
"""

from collections.abc import Iterable
from itertools import pairwise

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.frame import Frame

_AMOUNTS = (10, 50, 200, 1_000)
"""Borders of the bands, in major units."""

_AGES = (30, 180, 365, 1_095)
"""Borders of the bands, in days."""

_MOST_VALUES = 12
"""The largest groups of a column; the rest are pooled as `other`."""


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of one segment of the payments.

    Attributes:
        by: Attribute that defines the segments.
        value: Value of the attribute.
        rows: Number of payments.
        frauds: Number of frauds among them.
        flagged: Number of payments that score at least the threshold.
        caught: Number of frauds among the flagged.
        expected: Sum of the probabilities; close to `frauds` if the model is calibrated.
        missed: Total amount of the frauds not flagged, minor units.
        average_precision: Area under the precision-recall curve; None without fraud.
    """

    by: str
    value: str
    rows: int
    frauds: int
    flagged: int
    caught: int
    expected: float
    missed: int
    average_precision: float | None

    @property
    def recall(self) -> float | None:
        """Share of the frauds that are flagged."""
        return self.caught / self.frauds if self.frauds else None

    @property
    def precision(self) -> float | None:
        """Share of frauds among the flagged."""
        return self.caught / self.flagged if self.flagged else None

    @property
    def false_positive_rate(self) -> float | None:
        """Share of the honest payments that are flagged."""
        honest = self.rows - self.frauds
        return (self.flagged - self.caught) / honest if honest else None


def segments(frame: Frame, score: NDArray[np.float64], threshold: float) -> list[Segment]:
    """Return the counts of every segment; the first is all payments.

    Args:
        frame: The rows, with their labels.
        score: float64 [n], probability of fraud.
        threshold: Score at and above which a payment is flagged.
    """
    parts = [("all", ["all"], np.zeros(len(frame), np.int64))]
    for by, column, borders, unit in (
        ("amount", "amount_major", _AMOUNTS, ""), ("account age", "account_age_days", _AGES, " days"),
    ):  # fmt: skip
        if column in frame.names:
            parts.append((by, *_bands(frame.matrix[:, frame.names.index(column)], borders, unit)))
    parts += [(by, *_largest(values)) for by, values in frame.groups.items()]
    return [
        _count(frame, score, threshold, by, name, rows)
        for by, names, place in parts
        for number, name in enumerate(names)
        if (rows := place == number).any()
    ]


def pooled(folds: Iterable[list[Segment]]) -> list[Segment]:
    """Return the same segments pooled over folds; average precision is the mean weighted by frauds."""
    parts: dict[tuple[str, str], list[Segment]] = {}
    for fold in folds:
        for segment in fold:
            parts.setdefault((segment.by, segment.value), []).append(segment)
    return [_sum(same) for same in parts.values()]


def _count(
    frame: Frame, score: NDArray[np.float64], threshold: float, by: str, value: str, rows: NDArray[np.bool_]
) -> Segment:
    from sklearn.metrics import average_precision_score

    fraud, flagged = frame.fraud[rows], score[rows] >= threshold
    return Segment(
        by=by,
        value=value,
        rows=int(rows.sum()),
        frauds=int(fraud.sum()),
        flagged=int(flagged.sum()),
        caught=int((flagged & fraud).sum()),
        expected=float(score[rows].sum()),
        missed=int(frame.amount[rows][fraud & ~flagged].sum()),
        average_precision=float(average_precision_score(fraud, score[rows])) if fraud.any() else None,
    )


def _sum(same: list[Segment]) -> Segment:
    def total(name: str) -> int:
        return sum(getattr(segment, name) for segment in same)

    frauds = total("frauds")
    weighted = sum((segment.average_precision or 0.0) * segment.frauds for segment in same)
    return Segment(
        by=same[0].by,
        value=same[0].value,
        rows=total("rows"),
        frauds=frauds,
        flagged=total("flagged"),
        caught=total("caught"),
        expected=sum(segment.expected for segment in same),
        missed=total("missed"),
        average_precision=weighted / frauds if frauds else None,
    )


def _bands(values: NDArray[np.float64], borders: tuple[int, ...], unit: str) -> tuple[list[str], NDArray[np.int64]]:
    """Return the names of the bands in order, and the index of each value's band."""
    names = [f"under {borders[0]:,}{unit}"]
    names += [f"{low:,} to {high:,}{unit}" for low, high in pairwise(borders)]
    names += [f"from {borders[-1]:,}{unit}", "unknown"]
    return names, np.where(np.isnan(values), len(borders) + 1, np.searchsorted(borders, values, "right"))


def _largest(values: NDArray[np.str_]) -> tuple[list[str], NDArray[np.int64]]:
    """Return the names of the largest groups and of the rest, and the index of each value's group."""
    names, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    rank = np.minimum(np.argsort(order), _MOST_VALUES)
    return [*names[order[:_MOST_VALUES]].tolist(), "other"], rank[place]
