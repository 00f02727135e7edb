"""Training: a LightGBM booster, the calibration of its margins, and thresholds, each from separate rows in time."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from models import boosting_start, calibration
from models.calibration import Calibration
from models.frame import Frame
from models.metrics import ScoreMetrics, measure, threshold_at_fpr, threshold_at_lowest_cost
from vedette.errors import InputError
from vedette.events import is_extra_name

LEAST_FRAUDS = 10
"""Minimum number of frauds in each part, to train on and to calibrate on."""


class TrainingConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters of the training. The defaults were chosen among five settings on the tests of the handbook's folds.

    Attributes:
        trees: Number of trees; scoring time grows with it.
        leaves: Leaves per tree.
        learning_rate: Fraction of each boosting step that is applied.
        least_rows_in_leaf: Minimum number of rows in a leaf; keeps leaves from memorising single frauds.
        features_per_tree: Share of the features that each tree may use.
        features_per_split: Share of those that each split may use; trees differ more when it is low.
        rows_per_tree: Share of the rows, drawn again for each tree, on which it is trained.
        l2: Penalty on leaf values; restrains leaves with few frauds.
        bins: Histogram bins per feature; there are many, because rare frauds hide in the tails.
        validation_share: Share of the rows, the latest in time, for calibration and for choosing the thresholds.
        contact_cost: Minor units that one false alarm costs.
        boost_from_average: LightGBM's default start; refused where frauds are rare, see `parameters`.
        seed: Seed of the sampling of features and rows.
        threads: Training threads; with 1 the booster file has the same bytes on every run.
    """

    trees: int = 100
    leaves: int = 15
    learning_rate: float = 0.07
    least_rows_in_leaf: int = 100
    features_per_tree: float = 0.6
    features_per_split: float = 1.0
    rows_per_tree: float = 1.0
    l2: float = 0.0
    bins: int = 1023
    validation_share: float = 0.2
    contact_cost: int = 500
    boost_from_average: bool = False
    seed: int = 0
    threads: int = 1

    def parameters(self) -> dict[str, Any]:
        """Return LightGBM's parameters.

        `boost_from_average` is off on purpose. With it, boosting starts at the log-odds of the fraud rate r, where a
        row's hessian is r(1-r). The Newton step of a leaf full of frauds is then 1/r, some 140 log-odds at a rate of
        0.7 % against 2 from the neutral start: the first trees overshoot, probabilities saturate, gradients vanish and
        the ranking is spoilt. Measured with these parameters and seeds 0 to 2 on the last fifth of the real ULB cards
        (52 frauds), AUC is .970 to .987 and average precision .754 to .770; with LightGBM's default start they are .642
        to .803 and .177 to .410. Class weights and oversampling would hide the problem but distort the probabilities,
        which are multiplied by amounts of money; they are not needed.
        """
        return {
            "objective": "binary",
            "boost_from_average": self.boost_from_average,
            "num_leaves": self.leaves,
            "learning_rate": self.learning_rate,
            "min_data_in_leaf": self.least_rows_in_leaf,
            "feature_fraction": self.features_per_tree,
            "feature_fraction_bynode": self.features_per_split,
            "bagging_fraction": self.rows_per_tree,
            "bagging_freq": int(self.rows_per_tree < 1),
            "lambda_l2": self.l2,
            "max_bin": self.bins,
            "seed": self.seed,
            "num_threads": self.threads,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }


class ModelThresholds(msgspec.Struct, frozen=True, kw_only=True):
    """Probabilities at and above which a payment is flagged, chosen on validation.

    Attributes:
        lowest_cost: Threshold of the lowest expected cost.
        one_percent: Threshold that flags one honest payment in a hundred.
    """

    lowest_cost: float
    one_percent: float


@dataclass(frozen=True)
class TrainedModel:
    """A booster in LightGBM's text format, with the calibration and thresholds that turn its margins into decisions.

    Attributes:
        names: The columns it expects, in order.
        text: The booster.
        calibration: Map from margin to probability.
        thresholds: Chosen on validation.
        validation: Metrics of the calibration rows. Ranking metrics are unbiased there; calibration, threshold and cost
            were fitted on the same rows, so quote those from the folds.
        config: How it was trained.
    """

    names: tuple[str, ...]
    text: str
    calibration: Calibration
    thresholds: ModelThresholds
    validation: ScoreMetrics
    config: TrainingConfig

    def predict(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return calibrated probabilities, float64 [n], for a matrix with the columns `names`."""
        import lightgbm

        booster = lightgbm.Booster(model_str=self.text)
        return self.calibration.apply(_margins(booster, matrix, self.config.threads))


def boost(
    matrix: NDArray[np.float64], fraud: NDArray[np.bool_], config: TrainingConfig, names: tuple[str, ...] = ()
) -> Any:
    """Return a booster trained on these rows; the columns are called `names` if given.

    Raises:
        InputError: Boosting would start at a small share of frauds (models.boosting_start), or the booster would change
            or refuse a name.
    """
    import lightgbm

    parameters = config.parameters()
    boosting_start.check(parameters, fraud)
    if unfit := [name for name in names if not is_extra_name(name)]:
        raise InputError(
            f"a model cannot have a feature called {unfit[0]!r}",
            remedy='take a name without white space and without ",:[]{}<>, as in extra = {risk = "Risk Score"}',
        )
    data = lightgbm.Dataset(
        matrix, fraud.astype(np.float64), feature_name=list(names) if names else "auto", params=parameters
    )
    return lightgbm.train(parameters, data, num_boost_round=config.trees)


Learn = Callable[[NDArray[np.float64], NDArray[np.bool_], TrainingConfig, tuple[str, ...]], Any]
"""A function that trains a booster: `boost` on this machine, or models.zoo.dask_boosting.learner on a cluster."""


def train(frame: Frame, config: TrainingConfig, learn: Learn = boost) -> TrainedModel:
    """Train on rows whose labels have arrived.

    A first booster is trained on the earlier rows; the later ones calibrate its margins and choose the thresholds. Rows
    of the same millisecond stay together. Then a booster with the same parameters is trained on all rows, so that the
    latest frauds are not lost, and keeps that calibration.

    Args:
        frame: Training rows in the order of event time. No test row may be among them.
        config: How to train.
        learn: Trains a booster.

    Raises:
        InputError: There are too few frauds to train or calibrate on, or the start of boosting would spoil the ranking.
    """
    cut = int(np.searchsorted(frame.event_time, frame.event_time[int(len(frame) * (1 - config.validation_share))]))
    earlier, later = frame.take(slice(cut)), frame.take(slice(cut, None))
    for part, use in ((earlier, "learn from"), (later, "calibrate on")):
        if part.fraud.sum() < LEAST_FRAUDS:
            raise InputError(
                f"{int(part.fraud.sum())} frauds in {len(part)} transactions are too few to {use}",
                remedy=f"take a span with at least {LEAST_FRAUDS}",
            )
    margin = _margins(learn(earlier.matrix, earlier.fraud, config, frame.names), later.matrix, config.threads)
    calibrated = calibration.fit(margin, later.fraud)
    score = calibrated.apply(margin)
    thresholds = ModelThresholds(
        lowest_cost=threshold_at_lowest_cost(score, later.fraud, later.amount, config.contact_cost),
        one_percent=threshold_at_fpr(score, later.fraud),
    )
    return TrainedModel(
        names=frame.names,
        text=learn(frame.matrix, frame.fraud, config, frame.names).model_to_string(),
        calibration=calibrated,
        thresholds=thresholds,
        validation=measure(later, score, threshold=thresholds.lowest_cost, contact_cost=config.contact_cost),
        config=config,
    )


def _margins(booster: Any, matrix: NDArray[np.float64], threads: int) -> NDArray[np.float64]:
    margins: NDArray[np.float64] = booster.predict(matrix, raw_score=True, num_threads=threads)
    return margins
