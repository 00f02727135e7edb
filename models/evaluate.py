"""A model on the folds of the protocol: train on each, measure on its test."""

from collections.abc import Iterator

import msgspec
import numpy as np

from models.frame import Frame
from models.metrics import Metrics, measure
from models.protocol import Protocol, folds
from models.segments import Segment, segments
from models.train import TrainingConfig, train


class FoldResult(msgspec.Struct, frozen=True, kw_only=True):
    """One fold: where it lies in time (milliseconds UTC), the figures of its test, and of parts of its test."""

    training_start: int
    test_start: int
    training_rows: int
    test: Metrics
    segments: list[Segment] = []


def evaluate(frame: Frame, protocol: Protocol, config: TrainingConfig) -> Iterator[FoldResult]:
    """Train and measure fold by fold, earliest first; none if the data is shorter than one fold.

    Threshold and calibration of a fold come from its own training rows.

    Raises:
        InputError: A fold has too few frauds.
    """
    for fold in folds(frame, protocol):
        model = train(frame.take(fold.training), config)
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


def mean(results: list[FoldResult]) -> dict[str, float]:
    """The mean of every figure over the folds."""
    rows = [msgspec.to_builtins(result.test) for result in results]
    return {name: float(np.mean([row[name] for row in rows])) for name in Metrics.__struct_fields__}
