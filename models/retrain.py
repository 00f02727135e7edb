"""The next model, trained on the feature log and compared with the champion on the latest fully labelled week."""

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.bootstrap import average_precision_gains
from models.frame import Frame
from models.metrics import ScoreMetrics, measure
from models.protocol import Protocol, known_from
from models.scorer import Scorer
from models.train import TrainedModel, TrainingConfig, train
from vedette.clock import DAY
from vedette.errors import InputError

_DRAWS = 500
"""Bootstrap samples of accounts."""


class ChampionComparison(msgspec.Struct, frozen=True, kw_only=True):
    """Challenger and champion on the same payments, on which the challenger was not trained.

    Attributes:
        test_start: First moment of the week, milliseconds UTC.
        test_end: Its end, exclusive.
        training_rows: Number of payments on which the challenger of this comparison was trained.
        challenger: Metrics of the challenger.
        champion: Metrics of the champion.
        difference: Average precision of the challenger less that of the champion.
        low: Lower end of the 95 % interval of the difference, over accounts.
        high: Its upper end.
        champion_trained_on_test: Whether the champion was trained on some of that week, which flatters it.
        promote: Whether the challenger is significantly better: `low` is above 0.
    """

    test_start: int
    test_end: int
    training_rows: int
    challenger: ScoreMetrics
    champion: ScoreMetrics
    difference: float
    low: float
    high: float
    champion_trained_on_test: bool
    promote: bool


def next_model(frame: Frame, config: TrainingConfig, delay_days: int) -> tuple[TrainedModel, Frame]:
    """Train on every payment whose label has had time to arrive; return the model and its training rows.

    Raises:
        InputError: There are no such payments, or too few frauds.
    """
    rows = mature(frame, delay_days)
    if not len(rows):
        raise InputError(
            f"no payment of the log is older than the label delay of {delay_days} days",
            remedy="wait, or look further back with --days",
        )
    training = frame.take(rows)
    return train(training, config), training


def mature(frame: Frame, delay_days: int) -> NDArray[np.int64]:
    """Return the rows whose label is known by the time of the newest payment."""
    return np.flatnonzero(known_from(frame, delay_days) <= frame.event_time[-1])


def compare_with_champion(
    frame: Frame, champion: Scorer, champion_score: NDArray[np.float64], config: TrainingConfig, protocol: Protocol
) -> ChampionComparison:
    """Train on what was known when the latest mature week began, and compare with the champion on that week.

    Args:
        frame: The feature log with its labels.
        champion: The model to compare with.
        champion_score: float64 [n], its score of every row.
        config: Parameters of the training.
        protocol: Label delay and length of the test.

    Raises:
        InputError: The log is too short, or has too few frauds.
    """
    end = int(frame.event_time[-1]) - protocol.delay * DAY
    start = end - protocol.test * DAY
    low, high = np.searchsorted(frame.event_time, [start, end])
    # Training ends a label delay before the test, as it does in service.
    training = np.flatnonzero(known_from(frame, protocol.delay) <= start)
    training = training[frame.event_time[training] < start]
    if not len(training):
        raise InputError(
            f"the log is shorter than two label delays of {protocol.delay} days and a test of {protocol.test}",
            remedy="look further back with --days",
        )
    test = frame.take(slice(int(low), int(high)))
    model = train(frame.take(training), config)
    challenger_score, champion_score = model.predict(test.matrix), champion_score[low:high]
    cost = config.contact_cost
    challenger = measure(test, challenger_score, threshold=model.thresholds.lowest_cost, contact_cost=cost)
    baseline = measure(test, champion_score, threshold=champion.threshold, contact_cost=cost)
    differences = average_precision_gains(
        test.fraud, champion_score, challenger_score, test.account, draws=_DRAWS, rng=np.random.default_rng(config.seed)
    )
    lower, upper = np.quantile(differences, [0.025, 0.975]).tolist()
    return ChampionComparison(
        test_start=start,
        test_end=end,
        training_rows=len(training),
        challenger=challenger,
        champion=baseline,
        difference=challenger.average_precision - baseline.average_precision,
        low=lower,
        high=upper,
        champion_trained_on_test=champion.contract.trained_to >= start,
        promote=lower > 0,
    )
