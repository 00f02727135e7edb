"""Evaluation on the folds of the protocol: train on each, measure on its test."""

from collections.abc import Iterator

import msgspec
import numpy as np

from features.catalogue import NAMES
from models import leakage
from models.frame import Frame
from models.metrics import ScoreMetrics, measure
from models.protocol import Protocol, folds, latest
from models.segments import Segment, segments
from models.train import Learn, TrainingConfig, boost, train

LEAST_TEST_FRAUDS = 20
"""Minimum number of frauds; below it the standard error of recall exceeds .11 and one fraud moves it by .05."""


class FoldResult(msgspec.Struct, frozen=True, kw_only=True):
    """One fold: its position in time (milliseconds UTC), and the metrics of its test and of segments of its test."""

    training_start: int
    test_start: int
    training_rows: int
    test: ScoreMetrics
    segments: list[Segment] = []


def evaluate(frame: Frame, protocol: Protocol, config: TrainingConfig, learn: Learn = boost) -> Iterator[FoldResult]:
    """Train and measure fold by fold, earliest first; none if the data is shorter than one fold.

    Threshold and calibration of a fold come from the training rows of that fold.

    Raises:
        InputError: A fold has too few frauds.
        LeakageError: A fold would use what is not known at scoring time.
    """
    for fold in folds(frame, protocol):
        split = leakage.Split(fold.training, fold.test, known_at=fold.test_start, delay=protocol.delay)
        leakage.check(frame, split, known_names=NAMES)
        model = train(frame.take(fold.training), config, learn)
        test = frame.take(fold.test)
        score = model.predict(test.matrix)
        threshold = model.thresholds.lowest_cost
        yield FoldResult(
            training_start=fold.training_start,
            test_start=fold.test_start,
            training_rows=len(fold.training),
            test=measure(test, score, threshold=threshold, contact_cost=config.contact_cost),
            segments=segments(test, score, threshold),
        )


def teaching(frame: Frame, protocol: Protocol) -> Frame:
    """Return the rows for the production model: the most recent ones whose labels had arrived when the data ends.

    Raises:
        InputError: The data is shorter than the label delay.
        LeakageError: The rows would use what is not known at scoring time.
    """
    rows = latest(frame, protocol)
    present = int(frame.event_time[-1]) + 1
    leakage.check(frame, leakage.Split(rows, rows[:0], known_at=present, delay=protocol.delay), known_names=NAMES)
    return frame.take(rows)


def is_telling(result: FoldResult) -> bool:
    """Return whether a test has enough frauds for its metrics to be meaningful."""
    return result.test.frauds >= LEAST_TEST_FRAUDS


def mean(results: list[FoldResult]) -> dict[str, float]:
    """Return the mean of every metric over the folds whose tests have enough frauds, or over all if none has."""
    rows = [msgspec.structs.asdict(result.test) for result in [*filter(is_telling, results)] or results]
    return {
        name: float(np.mean([np.nan if row[name] is None else row[name] for row in rows]))
        for name in ScoreMetrics.__struct_fields__
    }
