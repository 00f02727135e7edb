"""Training rows and test rows: the protocol of the Fraud Detection Handbook.

    | training | delay | test |      each 7 days; the next fold is 7 days later

A model trained on the first days goes into service once their labels have arrived, so it is not trained on the delay
period. In production, cards known to be defrauded are blocked, so they are removed from the test. Source: Le Borgne,
Siblini, Lebichot, Bontempi, "Reproducible Machine Learning for Credit Card Fraud Detection", 2022, chapters 3.4 and 5.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.frame import Frame
from vedette.clock import DAY, format_time
from vedette.errors import InputError

PUBLISHED = (
    "amount_major",
    "is_night",
    "is_weekend",
    "account_count_1d",
    "account_mean_1d",
    "account_count_7d",
    "account_mean_7d",
    "account_count_30d",
    "account_mean_30d",
    "merchant_count_1d",
    "merchant_fraud_rate_1d",
    "merchant_count_7d",
    "merchant_fraud_rate_7d",
    "merchant_count_30d",
    "merchant_fraud_rate_30d",
)
"""The handbook's fifteen features."""


@dataclass(frozen=True)
class Protocol:
    """Lengths of a fold's parts, in days.

    Attributes:
        training: Length of the training, from the start of the fold.
        delay: Time that a label takes to arrive; rows in between are neither in training nor in the test.
        test: Length of the test.
        history: Train on this many days before the end of training instead of `training`; 0 takes all of them.
        folds: Maximum number of folds, each one test length before the next.
    """

    training: int = 7
    delay: int = 7
    test: int = 7
    history: int = 0
    folds: int = 4

    @property
    def span(self) -> int:
        """Length of one fold in days."""
        return self.training + self.delay + self.test


class Fold(NamedTuple):
    """Rows of one fold, and its borders in milliseconds UTC (the ends are exclusive)."""

    training: NDArray[np.int64]
    test: NDArray[np.int64]
    training_start: int
    training_end: int
    test_start: int
    test_end: int


def known_from(frame: Frame, delay: int) -> NDArray[np.int64]:
    """Return the time from which each label is known: its arrival, but at least `delay` days after the event."""
    return np.maximum(frame.labelled_at, frame.event_time + delay * DAY)


def folds(frame: Frame, protocol: Protocol, starts: tuple[int, ...] = ()) -> list[Fold]:
    """Return the folds that fit, earliest first; the last test ends with the last day of the data.

    A test row is removed if a fraud on its card since the start of the fold was known by the midnight before the row
    (days are UTC). What is removed does not depend on `history`, so figures stay comparable.

    Args:
        frame: All rows.
        protocol: Lengths.
        starts: Midnights at which training starts, milliseconds UTC, instead of the last folds that fit.

    Raises:
        InputError: The fold of a given start does not lie within the data.
    """
    if not len(frame):
        return []
    first = int(frame.event_time[0]) // DAY * DAY
    end = (int(frame.event_time[-1]) // DAY + 1) * DAY
    for start in starts:
        if not first <= start <= end - protocol.span * DAY:
            raise InputError(
                f"a fold that starts on {format_time(start)[:10]} needs {protocol.span} days, "
                f"the data runs from {format_time(first)[:10]} to {format_time(end)[:10]}",
                remedy="give transactions that reach further, or another start",
            )
    latest = [end - (protocol.span + step * protocol.test) * DAY for step in reversed(range(protocol.folds))]
    known = known_from(frame, protocol.delay)
    return [_fold(frame, known, start, protocol) for start in sorted(starts) or latest if start >= first]


def _fold(frame: Frame, known: NDArray[np.int64], start: int, protocol: Protocol) -> Fold:
    training_end = start + protocol.training * DAY
    test_start = training_end + protocol.delay * DAY
    test_end = test_start + protocol.test * DAY
    training = _span(frame, _training_start(frame, training_end, protocol), training_end)
    test: list[NDArray[np.int64]] = []
    for midnight in range(test_start, test_end, DAY):
        defrauded = frame.account[frame.fraud & (frame.event_time >= start) & (known <= midnight)]
        day = _span(frame, midnight, midnight + DAY)
        test.append(day[~np.isin(frame.account[day], defrauded)])
    return Fold(
        training=training[known[training] <= test_start],
        test=np.concatenate(test),
        training_start=start,
        training_end=training_end,
        test_start=test_start,
        test_end=test_end,
    )


def latest(frame: Frame, protocol: Protocol) -> NDArray[np.int64]:
    """Return the rows for the production model: the most recent ones whose labels had arrived when the data ends.

    Raises:
        InputError: The data is shorter than the label delay.
    """
    present = int(frame.event_time[-1]) + 1
    end = present - protocol.delay * DAY
    rows = _span(frame, _training_start(frame, end, protocol), end)
    rows = rows[known_from(frame, protocol.delay)[rows] <= present]
    if not len(rows):
        raise InputError(
            f"the data is shorter than the label delay of {protocol.delay} days", remedy="train on a longer span"
        )
    return rows


def _training_start(frame: Frame, end: int, protocol: Protocol) -> int:
    return end - protocol.history * DAY if protocol.history else int(frame.event_time[0])


def _span(frame: Frame, start: int, end: int) -> NDArray[np.int64]:
    low, high = np.searchsorted(frame.event_time, [start, end])
    return np.arange(low, high, dtype=np.int64)
