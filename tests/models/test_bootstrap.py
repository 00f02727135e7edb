import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from models.bootstrap import AveragePrecision, average_precision_gains


def test_weighted_average_precision_is_scikit_learns() -> None:
    """For random weights, ties included, average precision equals scikit-learn's with the same sample weights."""
    rng = np.random.default_rng(0)
    fraud, score = rng.random(500) < 0.1, rng.integers(0, 50, 500) / 50
    ranking = AveragePrecision(fraud, score)
    for _ in range(20):
        weight = rng.poisson(1.0, 500)
        assert ranking(weight) == pytest.approx(average_precision_score(fraud, score, sample_weight=weight))


def test_accounts_are_drawn_whole() -> None:
    """Copies of every payment within its account leave the spread of the draws as it was."""
    rng = np.random.default_rng(1)
    fraud = rng.random(300) < 0.2
    old, new, account = rng.random(300), fraud + rng.random(300), np.arange(300)
    arrays = (fraud, old, new, account)
    single = average_precision_gains(*arrays, draws=200, rng=np.random.default_rng(2))
    copies = [np.repeat(array, 3) for array in arrays]
    tripled = average_precision_gains(*copies, draws=200, rng=np.random.default_rng(2))  # type: ignore[arg-type]
    assert np.allclose(single, tripled)
    assert single.std() > 0


def test_a_draw_without_fraud_is_left_out() -> None:
    """With one defrauded account of two, draws that miss it give no figure, and the others do."""
    gains = average_precision_gains(
        np.array([True, False]), np.array([0.1, 0.9]), np.array([0.9, 0.1]), np.arange(2),
        draws=100, rng=np.random.default_rng(3),
    )  # fmt: skip
    assert 0 < len(gains) < 100
