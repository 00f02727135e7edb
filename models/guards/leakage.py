"""What a model must not learn from: the future, the test, and the answer under another name."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from models.frame import Frame
from models.protocol import known_from
from vedette.clock import format_time
from vedette.errors import InputError

TOO_GOOD = 0.999
"""A single column that ranks this well is the target in disguise."""

SAMPLE = 50_000
"""Honest rows that a column is ranked against, drawn evenly."""

LEAST_FRAUDS = 20
"""Fewer frauds than this can be ranked well by chance."""

TARGET_WORDS = ("fraud", "label", "target", "class", "chargeback", "is_scam")
"""Words that name the truth; features of the catalogue that use delayed labels are known by their names."""


class LeakageError(InputError):
    """The training would learn what it cannot know in service; nothing was trained."""


@dataclass(frozen=True)
class Split:
    """Which rows teach and which judge, and when the model would go to work.

    Attributes:
        training: Rows of the frame.
        test: Rows of the frame.
        known_at: Milliseconds UTC by which a label must have arrived to teach.
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
        split: What is to teach and to judge.
        known_names: Columns that may have a telling name, as the catalogue vouches for their delay.

    Raises:
        LeakageError: It leaks; the message says what and how.
    """
    check_time(frame)
    check_overlap(split)
    check_split(frame, split)
    check_arrival(frame, split)
    check_columns(frame, split.training, known_names)


def check_time(frame: Frame) -> None:
    """Rows must come in the order of time: a permuted column of times lets every window see the future."""
    back = np.flatnonzero(np.diff(frame.event_time) < 0)
    if len(back):
        first = format_time(int(frame.event_time[back[0]]))
        raise LeakageError(
            f"{len(back)} rows are earlier than the row before, the first at {first}",
            remedy="sort by event time and compute the features again",
        )


def check_overlap(split: Split) -> None:
    """No row may teach and judge."""
    both = np.intersect1d(split.training, split.test)
    if len(both):
        raise LeakageError(f"{len(both)} rows teach and judge, such as row {both[0]}", remedy="split anew by time")


def check_split(frame: Frame, split: Split) -> None:
    """What teaches must lie before what judges, as in service; a random split does not."""
    if not len(split.training) or not len(split.test):
        return
    latest, first = frame.event_time[split.training].max(), frame.event_time[split.test].min()
    if latest >= first:
        raise LeakageError(
            f"rows that teach reach to {format_time(int(latest))}, those that judge begin at {format_time(int(first))}",
            remedy="split by time; a random split measures how well the past is remembered",
        )


def check_arrival(frame: Frame, split: Split) -> None:
    """A label teaches only if it had arrived when the model was trained."""
    late = split.training[known_from(frame, split.delay)[split.training] > split.known_at]
    if len(late):
        raise LeakageError(
            f"{len(late)} labels that teach arrive after {format_time(split.known_at)}",
            remedy=f"end the training {split.delay} days earlier",
        )


def check_columns(frame: Frame, rows: NDArray[np.int64], known_names: tuple[str, ...] = ()) -> None:
    """No column may be the answer: by its name, or because it alone ranks the frauds almost perfectly."""
    fraud = frame.fraud[rows]
    if fraud.sum() < LEAST_FRAUDS or fraud.all():
        return
    honest = np.flatnonzero(~fraud)
    sample = np.sort(np.append(np.flatnonzero(fraud), honest[:: max(len(honest) // SAMPLE, 1)]))
    matrix, fraud = frame.matrix[rows[sample]], fraud[sample]
    for column, name in enumerate(frame.names):
        if name not in known_names and any(word in name.lower() for word in TARGET_WORDS):
            raise LeakageError(f"column {name} is called like the target", remedy="leave it out or give it its name")
        values = np.nan_to_num(matrix[:, column], nan=-1e18, posinf=1e300, neginf=-1e300)
        area = roc_auc_score(fraud, values)
        if max(area, 1 - area) > TOO_GOOD:
            raise LeakageError(
                f"column {name} alone ranks frauds with an AUC of {max(area, 1 - area):.4f}",
                remedy="it is made from the label or from what follows it; leave it out",
            )
