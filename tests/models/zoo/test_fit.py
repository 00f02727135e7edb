import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from models import zoo
from models.frame import Frame
from models.train import TrainingConfig, boost
from models.zoo import ModelEntry
from models.zoo.cleaning import OutlierBounds
from models.zoo.fit import select
from models.zoo.imbalance import balanced, sampler
from models.zoo.loss import ALPHA, GAMMA, focal
from vedette.errors import InputError

TEACH, JUDGE = np.arange(8_000), np.arange(8_000, 12_000)
SMALL = {
    "random_forest": {"n_estimators": 20},
    "balanced_bagging": {"n_estimators": 10},
    "xgboost": {"n_estimators": 30, "base_score": 0.5},
    "stacked": {"n_estimators": 30, "base_score": 0.5},
    "lightgbm": {"n_estimators": 30, "boost_from_average": False},
    "vedette": {"trees": 30, "least_rows_in_leaf": 20},
}
SUPERVISED = ("logistic_regression", *SMALL)


def lift(history: Frame, entry: ModelEntry) -> float:
    """Return average precision on later rows, as a multiple of chance."""
    score = zoo.fit(entry, history, TEACH).score(history, JUDGE)
    truth = history.fraud[JUDGE]
    assert np.isfinite(score).all()
    return float(average_precision_score(truth, score) / truth.mean())


@pytest.mark.parametrize("model", SUPERVISED)
def test_every_supervised_model_ranks_later_frauds(history: Frame, model: str) -> None:
    """Trained on earlier rows with missing values, each is several times better than chance."""
    assert lift(history, ModelEntry(model=model, parameters=SMALL.get(model, {}))) > 4


@pytest.mark.parametrize("model", ["isolation_forest", "local_outlier_factor"])
def test_anomaly_models_rank_without_labels(history: Frame, model: str) -> None:
    """Flipping every label changes no score."""
    flipped = Frame(**{**vars(history), "fraud": ~history.fraud})
    scores = [zoo.fit(ModelEntry(model=model), frame, TEACH).score(frame, JUDGE) for frame in (history, flipped)]
    assert np.array_equal(*scores)


@pytest.mark.parametrize("imbalance", ["class_weights", "undersampling", "smote", "tomek", "smote_tomek", "focal"])
def test_any_imbalance_method_goes_with_xgboost(history: Frame, imbalance: str) -> None:
    """Each one learns, whatever the method for imbalance."""
    assert lift(history, ModelEntry(model="xgboost", imbalance=imbalance, parameters=SMALL["xgboost"])) > 4  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (ModelEntry(model="no_such"), "no model 'no_such'"),
        (ModelEntry(model="isolation_forest", imbalance="smote"), "without labels"),
        (ModelEntry(model="random_forest", imbalance="focal"), "gradient"),
        (ModelEntry(model="vedette", imbalance="smote"), "unmodified rows"),
        (ModelEntry(model="vedette", parameters={"tree": 3.5}), "tree"),
    ],
)
def test_what_cannot_be_trained_is_said(history: Frame, entry: ModelEntry, why: str) -> None:
    """Every impossible pair is an InputError that names the reason."""
    with pytest.raises(InputError, match=why):
        zoo.fit(entry, history, TEACH)


def test_the_champion_is_the_booster_of_the_train_command(history: Frame) -> None:
    """Its scores are, bit for bit, those of the booster of models.train with the same settings."""
    config = TrainingConfig(trees=30, least_rows_in_leaf=20)
    booster = boost(history.matrix[:8_000], history.fraud[:8_000], config)
    expected = booster.predict(history.matrix[8_000:], raw_score=True)
    score = zoo.fit(ModelEntry(model="vedette", parameters=SMALL["vedette"]), history, TEACH).score(history, JUDGE)
    assert np.array_equal(score, expected)


def test_a_sequence_holds_earlier_payments_of_the_account_only(history: Frame) -> None:
    """The last block of a row is the row itself; earlier blocks are the account's earlier payments, or missing."""
    rows = np.array([0, 5_000, 11_999])
    blocks = select(history, rows, np.arange(len(history.names)), length=3).reshape(3, 3, -1)
    for block, row in zip(blocks, rows, strict=True):
        own = np.flatnonzero((history.account == history.account[row]) & (np.arange(len(history)) <= row))[-3:]
        assert np.array_equal(block[-len(own) :], history.matrix[own], equal_nan=True)
        assert np.isnan(block[: 3 - len(own)]).all()


def test_outliers_and_infinities_are_drawn_in_as_in_training() -> None:
    """OutlierBounds come from the training rows; later values beyond them, and infinities, are clipped."""
    limits = OutlierBounds().fit(np.array([[0.0, np.nan], [7.0, np.inf], [np.inf, np.nan]]))
    later = np.array([[-5.0, 1.0], [5e9, np.nan], [np.nan, 2.0], [-np.inf, 3.0], [3.0, 4.0]])
    assert limits.transform(later)[:, 0] == pytest.approx([0.0, 7.0, np.nan, np.nan, 3.0], nan_ok=True)
    assert np.isnan(limits.transform(later)[:, 1]).all()


def test_resampling_adds_only_rows_of_the_training() -> None:
    """SMOTE keeps every given row and interpolates between given frauds."""
    rng = np.random.default_rng(0)
    matrix, fraud = rng.random((2_000, 3)), np.arange(2_000) < 20
    more, labels = sampler("smote", 0).fit_resample(matrix, fraud)
    assert np.array_equal(more[:2_000], matrix)
    assert labels[2_000:].all()
    assert more[2_000:].min() >= matrix[:20].min()
    assert more[2_000:].max() <= matrix[:20].max()


def test_balanced_weights_give_both_classes_the_same_total() -> None:
    """This holds whatever the fraction of frauds."""
    fraud = np.arange(1_000) < 7
    weight = balanced(fraud)
    assert weight[fraud].sum() == pytest.approx(weight[~fraud].sum())


def test_focal_gradient_and_hessian_are_the_derivatives() -> None:
    """They agree with finite differences of the loss where it is convex."""
    margin, target = np.array([-1.0, 0.5, 0.3, -0.4]), np.array([1.0, 0.0, 1.0, 0.0])

    def loss(z: np.ndarray) -> np.ndarray:
        p = 1 / (1 + np.exp(-(2 * target - 1) * z))
        return -np.where(target > 0, ALPHA, 1 - ALPHA) * (1 - p) ** GAMMA * np.log(p)

    gradient, hessian = focal(target, margin)
    step = 1e-4
    assert gradient == pytest.approx((loss(margin + step) - loss(margin - step)) / (2 * step), rel=1e-5)
    second = (loss(margin + step) - 2 * loss(margin) + loss(margin - step)) / step**2
    assert hessian == pytest.approx(np.maximum(second, 1e-9), rel=1e-3)
