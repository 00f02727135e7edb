import lightgbm
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import calibration
from models.evaluate import evaluate, mean
from models.frame import Frame
from models.metrics import measure
from models.protocol import Protocol
from models.train import TrainedModel, TrainingConfig, train
from vedette.errors import InputError


def test_training_twice_gives_the_same_bytes(history: Frame, model: TrainedModel) -> None:
    """Same rows, same configuration: same booster, calibration and thresholds."""
    again = train(history, model.config)
    assert again.text == model.text
    assert again.calibration == model.calibration
    assert again.thresholds == model.thresholds


def test_a_learnable_fraud_is_learned(history: Frame, model: TrainedModel) -> None:
    """The validation figures, on rows the first booster never saw, are far above chance."""
    assert model.validation.auc > 0.8
    assert model.validation.average_precision > 10 * model.validation.frauds / model.validation.rows
    assert model.validation.cost < model.validation.cost_without
    assert model.validation.rows == pytest.approx(len(history) * 0.2, abs=2)


def test_probabilities_add_up_to_the_frauds(history: Frame) -> None:
    """Trained on the first half, the second half's probabilities sum to its number of frauds within a quarter."""
    half = len(history) // 2
    model = train(history.take(slice(half)), TrainingConfig(trees=30, least_rows_in_leaf=20, bins=255))
    later = history.take(slice(half, None))
    assert model.predict(later.matrix).sum() == pytest.approx(later.fraud.sum(), rel=0.25)


def test_too_few_frauds_are_refused(history: Frame) -> None:
    """Nine frauds in the validation part are too few to calibrate, and the error counts them."""
    frauds = np.flatnonzero(history.fraud)
    fraud = history.fraud.copy()
    fraud[frauds[:-9]] = False
    poor = Frame(**{**vars(history), "fraud": fraud})
    with pytest.raises(InputError, match=r"frauds in .* transactions are too few to learn from"):
        train(poor, TrainingConfig())


def test_every_fold_is_measured(history: Frame) -> None:
    """Thirty days hold two folds; their mean is the mean."""
    config = TrainingConfig(trees=10, least_rows_in_leaf=20, bins=255)
    results = list(evaluate(history, Protocol(), config))
    assert len(results) == 2
    assert results[0].training_rows < results[1].training_rows
    assert mean(results)["auc"] == pytest.approx((results[0].test.auc + results[1].test.auc) / 2)


def test_training_takes_no_step_larger_than_the_neutral_start_allows() -> None:
    """With 30 frauds among 30,000, one tree moves no margin by more than 2 log-odds times the learning rate.

    The same tree from LightGBM's own start moves it by a hundred times that: the trap that `parameters` describes.
    """
    rng = np.random.default_rng(3)
    fraud = np.arange(30_000) % 1_000 == 0
    matrix = np.column_stack([fraud * 5.0 + rng.random(len(fraud)), rng.random(len(fraud))])
    config = TrainingConfig(trees=1, least_rows_in_leaf=20, features_per_tree=1.0)
    spread = {}
    for neutral in (True, False):
        parameters = config.parameters() | {"boost_from_average": not neutral}
        booster = lightgbm.train(parameters, lightgbm.Dataset(matrix, fraud.astype(float)), num_boost_round=1)
        margin = booster.predict(matrix, raw_score=True)
        spread[neutral] = float(margin.max() - margin.min()) / config.learning_rate
    assert spread[True] <= 4.0
    assert spread[False] > 100 * spread[True] / 4.0
    assert config.parameters()["boost_from_average"] is False


@given(seed=st.integers(0, 10_000), rate=st.floats(0.002, 0.5))
def test_calibration_keeps_the_order_and_stays_a_probability(seed: int, rate: float) -> None:
    """Whatever it is fitted on, a higher margin never gets a lower probability, and distinct ones do not tie."""
    rng = np.random.default_rng(seed)
    fraud = rng.random(400) < rate
    fraud[:2] = True, False
    fitted = calibration.fit(rng.normal(size=400) + fraud, fraud)
    margin = np.linspace(-8.0, 8.0, 500)
    probability = fitted.apply(margin)
    assert (np.diff(probability) > 0).all()
    assert probability.min() > 0
    assert probability.max() < 1
    assert (np.diff(fitted.apply(np.linspace(-100.0, 100.0, 50))) >= 0).all()


def test_calibration_mends_margins_that_are_off() -> None:
    """Margins with twice the true log-odds are corrected to the frequencies."""
    rng = np.random.default_rng(5)
    margin = rng.normal(-3.0, 1.5, 40_000)
    fraud = rng.random(40_000) < 1 / (1 + np.exp(-margin))
    fitted = calibration.fit(2 * margin[:20_000], fraud[:20_000])
    assert fitted.apply(2 * margin[20_000:]).sum() == pytest.approx(fraud[20_000:].sum(), rel=0.1)


def test_the_frame_itself_is_measured_as_the_model_predicts(history: Frame, model: TrainedModel) -> None:
    """A model is better on its training rows than on its validation, so training metrics are not reported."""
    own = measure(history, model.predict(history.matrix), threshold=0.5, contact_cost=500)
    assert own.average_precision >= model.validation.average_precision
