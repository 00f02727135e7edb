"""Leakage checks: a model must not learn from the future, the test, or the label under another name."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.frame import Frame
from models.protocol import known_from
from vedette.clock import format_time
from vedette.errors import InputError

TOO_GOOD = 0.999
"""AUC from which a single column is taken to be the target in disguise."""

SAMPLE = 50_000
"""Number of honest rows, drawn evenly, against which a column is ranked."""

LEAST_FRAUDS = 20
"""Minimum number of frauds; fewer can be ranked well by chance."""

TARGET_WORDS = ("fraud", "label", "target", "class", "chargeback", "is_scam")
"""Words that name the label; features of the catalogue that use delayed labels are exempt by name."""


class LeakageError(InputError):
    """The training would use what is not known at scoring time; nothing was trained."""


@dataclass(frozen=True)
class Split:
    """The training rows, the test rows, and the time at which the model would go into service.

    Attributes:
        training: Training rows of the frame.
        test: Test rows of the frame.
        known_at: Milliseconds UTC by which a label must have arrived to be trained on.
        delay: Days that a label takes to arrive.
    """

    training: NDArray[np.int64]
    test: NDArray[np.int64]
    known_at: int
    delay: int


def check(frame: Frame, split: Split, known_names: tuple[str, ...] = ()) -> None:
    """Refuse a training that leaks.

    Args:
        frame: All rows.
        split: The rows to train on and to test on.
        known_names: Columns that may be named like the target, as the catalogue guarantees their delay.

    Raises:
        LeakageError: The training leaks; the message says what and how.
    """
    check_time(frame)
    check_overlap(split)
    check_split(frame, split)
    check_arrival(frame, split)
    check_columns(frame, split.training, known_names)


def check_time(frame: Frame) -> None:
    """Check that rows are in the order of time: a permuted column of times lets every window see the future."""
    back = np.flatnonzero(np.diff(frame.event_time) < 0)
    if len(back):
        first = format_time(int(frame.event_time[back[0]]))
        raise LeakageError(
            f"{len(back)} rows are earlier than the row before, the first at {first}",
            remedy="sort by event time and compute the features again",
        )


def check_overlap(split: Split) -> None:
    """Check that no row is in both training and test."""
    both = np.intersect1d(split.training, split.test)
    if len(both):
        raise LeakageError(f"{len(both)} rows are in training and test, such as row {both[0]}", remedy="split by time")


def check_split(frame: Frame, split: Split) -> None:
    """Check that training precedes the test, as in service; with a random split it does not."""
    if not len(split.training) or not len(split.test):
        return
    latest, first = frame.event_time[split.training].max(), frame.event_time[split.test].min()
    if latest >= first:
        raise LeakageError(
            f"training rows reach to {format_time(int(latest))}, test rows begin at {format_time(int(first))}",
            remedy="split by time; a random split measures how well the past is remembered",
        )


def check_arrival(frame: Frame, split: Split) -> None:
    """Check that every training label had arrived when the model was trained."""
    late = split.training[known_from(frame, split.delay)[split.training] > split.known_at]
    if len(late):
        raise LeakageError(
            f"{len(late)} training labels arrive after {format_time(split.known_at)}",
            remedy=f"end the training {split.delay} days earlier",
        )


def check_columns(frame: Frame, rows: NDArray[np.int64], known_names: tuple[str, ...] = ()) -> None:
    """Check that no column is the target, by its name or because it alone ranks the frauds almost perfectly."""
    from sklearn.metrics import roc_auc_score

    fraud = frame.fraud[rows]
    if fraud.sum() < LEAST_FRAUDS or fraud.all():
        return
    honest = np.flatnonzero(~fraud)
    sample = np.sort(np.append(np.flatnonzero(fraud), honest[:: max(len(honest) // SAMPLE, 1)]))
    matrix, fraud = frame.matrix[rows[sample]], fraud[sample]
    for column, name in enumerate(frame.names):
        if name not in known_names and any(word in name.lower() for word in TARGET_WORDS):
            raise LeakageError(f"column {name} is called like the target", remedy="leave it out or rename it")
        values = np.nan_to_num(matrix[:, column], nan=-1e18, posinf=1e300, neginf=-1e300)
        area = roc_auc_score(fraud, values)
        if max(area, 1 - area) > TOO_GOOD:
            raise LeakageError(
                f"column {name} alone ranks frauds with an AUC of {max(area, 1 - area):.4f}",
                remedy="it is derived from the label or from what follows it; leave it out",
            )
