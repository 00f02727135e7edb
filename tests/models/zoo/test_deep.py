import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from models import zoo
from models.frame import Frame
from models.zoo import ModelEntry, networks
from models.zoo.gan import ConditionalGan
from models.zoo.networks import keras
from vedette.errors import UnavailableError

try:
    keras()
except UnavailableError as error:
    pytest.skip(str(error), allow_module_level=True)

# Keras hands JAX's arrays to NumPy in a way that NumPy 2 will give up.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

TEACH, JUDGE = np.arange(8_000), np.arange(8_000, 12_000)


@pytest.mark.parametrize("model", ["feed_forward", "cnn", "lstm"])
def test_networks_rank_later_frauds(history: Frame, model: str) -> None:
    """A few epochs are several times better than chance, and the same seed gives the same scores."""
    entry = ModelEntry(model=model, parameters={"epochs": 6, "learning_rate": 0.005})
    first, second = (zoo.fit(entry, history, TEACH).score(history, JUDGE) for _ in range(2))
    truth = history.fraud[JUDGE]
    assert average_precision_score(truth, first) > 3 * truth.mean()
    assert np.array_equal(first, second)


def test_a_network_is_the_average_of_its_last_steps(history: Frame, monkeypatch: pytest.MonkeyPatch) -> None:
    """Averaged over all steps its scores vary less than those of the last step alone, which has learned further."""
    entry, spread = ModelEntry(model="feed_forward", parameters={"epochs": 2}), []
    for averaged in (1e-6, 0.2, 1.0):
        monkeypatch.setattr(networks, "AVERAGED", averaged)
        spread.append(np.std(zoo.fit(entry, history, TEACH).score(history, JUDGE)))
    assert spread[0] > spread[1] > spread[2]


def test_the_focal_loss_and_weights_go_with_networks(history: Frame) -> None:
    """They change what is learned."""
    scores = [
        zoo.fit(ModelEntry(model="feed_forward", imbalance=imbalance, parameters={"epochs": 1}), history, TEACH).score(
            history, JUDGE
        )
        for imbalance in ("none", "focal", "class_weights")
    ]
    assert all(np.isfinite(score).all() for score in scores)
    assert not np.array_equal(scores[0], scores[1])
    assert not np.array_equal(scores[0], scores[2])


def test_the_autoencoder_finds_what_is_unusual_hard_to_reproduce() -> None:
    """Rows away from the line of all others get the larger errors."""
    rng = np.random.default_rng(0)
    line = rng.normal(size=(4_000, 1))
    matrix = line * [1.0, -2.0, 0.5, 1.5] + rng.normal(scale=0.05, size=(4_000, 4))
    matrix[-20:] = rng.normal(size=(20, 4)) * 2
    time = np.arange(4_000)
    frame = Frame(("a", "b", "c", "d"), matrix, time, time, time, time >= 3_980, time)
    score = zoo.fit(ModelEntry(model="autoencoder", parameters={"epochs": 40}), frame, time[:3_000]).score(
        frame, time[3_000:]
    )
    assert np.median(score[-20:]) > np.quantile(score[:-20], 0.95)


def test_the_gan_makes_frauds_that_lie_near_frauds() -> None:
    """Honest rows are unchanged; generated rows are nearer to the mean of frauds than to that of honest rows."""
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(2_000, 3))
    fraud = np.arange(2_000) < 40
    matrix[fraud] += 4
    more, labels = ConditionalGan(share=0.1, seed=0, steps=400).fit_resample(matrix, fraud)
    assert np.array_equal(more[:2_000], matrix)
    made = more[2_000:]
    assert len(made) == 0.1 * 1_960 - 40
    assert labels[2_000:].all()
    assert np.linalg.norm(made.mean(axis=0) - 4) < np.linalg.norm(made.mean(axis=0))
