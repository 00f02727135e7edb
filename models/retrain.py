"""The next model from what the stream has seen, held against the champion on the latest week whose labels are in."""

import msgspec
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from models.frame import Frame
from models.metrics import Metrics, measure
from models.protocol import Protocol, known_from
from models.scorer import Scorer
from models.train import TrainedModel, TrainingConfig, train
from vedette.clock import DAY
from vedette.errors import InputError

_DRAWS = 200
"""Bootstrap samples of accounts."""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """Challenger and champion on the same payments, which taught the challenger nothing.

    Attributes:
        test_start: First moment of the week, milliseconds UTC.
        test_end: Its end, exclusive.
        training_rows: Payments that taught the challenger of this comparison.
        challenger: Its figures.
        champion: Its figures.
        difference: Average precision of the challenger less that of the champion.
        low: Lower end of the 95 % interval of the difference, over accounts.
        high: Its upper end.
        seen: Whether the champion was trained on some of the week, which flatters it.
        promote: Whether the challenger is better beyond doubt, that is, `low` is above 0.
    """

    test_start: int
    test_end: int
    training_rows: int
    challenger: Metrics
    champion: Metrics
    difference: float
    low: float
    high: float
    seen: bool
    promote: bool


def next_model(frame: Frame, config: TrainingConfig, delay_days: int) -> tuple[TrainedModel, Frame]:
    """Train on every payment whose label had time to arrive; the model, and the rows that taught it.

    Raises:
        InputError: There are none, or too few frauds.
    """
    rows = mature(frame, delay_days)
    if not len(rows):
        raise InputError(
            f"no payment of the log is older than the label delay of {delay_days} days",
            remedy="wait, or look further back",
        )
    teaching = frame.take(rows)
    return train(teaching, config), teaching


def mature(frame: Frame, delay_days: int) -> NDArray[np.int64]:
    """Rows whose truth is known by the newest payment."""
    return np.flatnonzero(known_from(frame, delay_days) <= frame.event_time[-1])


def trial(
    frame: Frame, champion: Scorer, champion_score: NDArray[np.float64], config: TrainingConfig, protocol: Protocol
) -> Trial:
    """Train on what was known when the latest mature week began, and compare with the champion on that week.

    Args:
        frame: The feature log with its labels.
        champion: The model to beat.
        champion_score: float64 [n], what it gives for every row.
        config: How to train.
        protocol: Its label delay and the length of the test.

    Raises:
        InputError: The log is too short, or has too few frauds.
    """
    end = int(frame.event_time[-1]) - protocol.delay * DAY
    start = end - protocol.test * DAY
    low, high = np.searchsorted(frame.event_time, [start, end])
    # Teaching ends a delay before the test, as in real life.
    taught = np.flatnonzero(known_from(frame, protocol.delay) <= start)
    taught = taught[frame.event_time[taught] < start]
    if not len(taught):
        raise InputError(
            f"the log is shorter than two label delays of {protocol.delay} days and a test of {protocol.test}",
            remedy="look further back with --days",
        )
    test = frame.take(slice(int(low), int(high)))
    model = train(frame.take(taught), config)
    ours, theirs = model.predict(test.matrix), champion_score[low:high]
    cost = config.contact_cost
    differences = _bootstrap(test, ours, theirs, config.seed)
    least, most = np.quantile(differences, [0.025, 0.975]).tolist()
    challenger = measure(test, ours, threshold=model.thresholds.lowest_cost, contact_cost=cost)
    beaten = measure(test, theirs, threshold=champion.threshold, contact_cost=cost)
    return Trial(
        test_start=start,
        test_end=end,
        training_rows=len(taught),
        challenger=challenger,
        champion=beaten,
        difference=challenger.average_precision - beaten.average_precision,
        low=least,
        high=most,
        seen=champion.contract.trained_to >= start,
        promote=least > 0,
    )


def _bootstrap(test: Frame, ours: NDArray[np.float64], theirs: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Differences of average precision over samples of accounts: an account's payments are not independent."""
    rng = np.random.default_rng(seed)
    _, account = np.unique(test.account, return_inverse=True)
    differences: list[float] = []
    for _ in range(_DRAWS):
        weight = np.bincount(rng.integers(account.max() + 1, size=account.max() + 1), minlength=account.max() + 1)
        times = weight[account].astype(np.float64)
        if (times * test.fraud).any():
            gain = average_precision_score(test.fraud, ours, sample_weight=times)
            differences.append(gain - average_precision_score(test.fraud, theirs, sample_weight=times))
    return np.array(differences or [0.0])
