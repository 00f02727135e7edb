"""A model on the folds of the protocol: train on each, measure on its test."""

from collections.abc import Iterator

import msgspec
import numpy as np

from features.catalogue import NAMES
from models.frame import Frame
from models.guards import leakage
from models.metrics import Metrics, measure
from models.protocol import Protocol, folds, latest
from models.segments import Segment, segments
from models.train import Learn, TrainingConfig, boost, train


class FoldResult(msgspec.Struct, frozen=True, kw_only=True):
    """One fold: where it lies in time (milliseconds UTC), the figures of its test, and of parts of its test."""

    training_start: int
    test_start: int
    training_rows: int
    test: Metrics
    segments: list[Segment] = []


def evaluate(frame: Frame, protocol: Protocol, config: TrainingConfig, learn: Learn = boost) -> Iterator[FoldResult]:
    """Train and measure fold by fold, earliest first; none if the data is shorter than one fold.

    Threshold and calibration of a fold come from its own training rows.

    Raises:
        InputError: A fold has too few frauds.
        LeakageError: It would learn what it cannot know.
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
    """The rows for the model that goes to work: the most recent ones whose labels had arrived when the data ends.

    Raises:
        InputError: The data is shorter than the label delay.
        LeakageError: They would teach what cannot be known in service.
    """
    rows = latest(frame, protocol)
    present = int(frame.event_time[-1]) + 1
    leakage.check(frame, leakage.Split(rows, rows[:0], known_at=present, delay=protocol.delay), known_names=NAMES)
    return frame.take(rows)


def mean(results: list[FoldResult]) -> dict[str, float]:
    """The mean of every figure over the folds."""
    rows = [msgspec.to_builtins(result.test) for result in results]
    return {name: float(np.mean([row[name] for row in rows])) for name in Metrics.__struct_fields__}
