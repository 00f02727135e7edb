from pathlib import Path

import numpy as np
import pytest

from features.catalogue import NAMES
from models import load_scorer
from models.explain import reasons
from models.importance import importance, partial_dependence
from models.scorer import Scorer

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def demo() -> Scorer:
    """The model that ships."""
    return load_scorer(ROOT / "models/demo")


def row(**values: float) -> np.ndarray:
    """A payment with these features; the others are missing."""
    made = np.full((1, len(NAMES)), np.nan)
    for name, value in values.items():
        made[0, NAMES.index(name)] = value
    return made


class Told(Scorer):
    """A scorer whose contributions are given, so that its words can be looked at."""

    def __init__(self, demo: Scorer, **given: float) -> None:
        vars(self).update(vars(demo))
        self._given = given

    def contributions(self, matrix: np.ndarray) -> np.ndarray:
        """What was given, for every row."""
        return np.tile([self._given.get(name, 0.0) for name in self.names], (len(matrix), 1))


@pytest.mark.parametrize(
    ("feature", "values", "words"),
    [
        ("account_count_10min", {"account_count_10min": 11, "account_count_30d": 41},
         "11 payments in the last 10 minutes, usually 1 a day"),
        ("account_count_1h", {"account_count_1h": 3, "account_count_30d": 5},
         "3 payments in the last hour, usually 2 a month"),
        ("account_count_1d", {"account_count_1d": 4, "account_count_30d": 4},
         "4 payments in the last day, none before in 30 days"),
        ("account_sum_1d", {"account_sum_1d": 900.0, "account_sum_30d": 1190.0},
         "900.00 spent in the last day, usually 10.00 a day"),
        ("amount_major", {"amount_major": 950.0, "amount_to_mean_30d": 10.0}, "amount of 950.00, usually 95.00"),
        ("amount_major", {"amount_major": 950.0}, "amount of 950.00"),
        ("seconds_since_last", {"seconds_since_last": 40.0, "gap_to_mean_30d": 0.001},
         "40 seconds after the previous payment, usually 11 hours"),
        ("is_night", {"is_night": 1.0, "hour_habit_30d": 0.02},
         "at night, when 2% of the account's payments happen"),
    ],
)  # fmt: skip
def test_words_say_what_is_usual(demo: Scorer, feature: str, values: dict[str, float], words: str) -> None:
    """A reason names the value and, where other features tell it, what the account usually does."""
    assert reasons(Told(demo, **{feature: 1.0}), row(**values)) == [[words]]


def test_one_reason_speaks_for_features_that_say_the_same(demo: Scorer) -> None:
    """Three windows of one count are one reason, of the strongest of them, and together they outrank a single other."""
    model = Told(demo, account_count_10min=0.5, account_count_1h=0.6, account_count_1d=0.4, distance_km=1.0)
    said = reasons(model, row(account_count_10min=2, account_count_1h=3, account_count_1d=4, distance_km=80))
    assert said == [["3 payments in the last hour, none before in 30 days", "80 km from the last place"]]


def test_what_lowers_the_score_is_no_reason(demo: Scorer) -> None:
    """A topic whose features together lower the score is not told, even if one of them raises it."""
    model = Told(demo, account_count_1h=1.0, account_count_1d=-2.0)
    assert reasons(model, row(account_count_1h=3, account_count_1d=4)) == [[]]


def test_importance_adds_up_and_finds_what_matters(folder: Path, rows: np.ndarray) -> None:
    """Shares sum to one, and the two columns that the fraud was made of come first."""
    scorer = load_scorer(folder)
    found = importance(scorer, rows[:1000])
    assert sum(one.share for one in found) == pytest.approx(1)
    assert {one.feature for one in found[:2]} == {"amount_major", "extra.risk"}


def test_partial_dependence_is_the_mean_over_changed_payments(folder: Path, rows: np.ndarray) -> None:
    """Each point is the mean score of all payments with the feature set to it; risk raises it."""
    scorer = load_scorer(folder)
    found = partial_dependence(scorer, rows[:500], "extra.risk", points=5)
    changed = rows[:500].copy()
    changed[:, -1] = found.values[3]
    assert found.probability[3] == scorer.predict(changed).mean()
    assert found.probability[-1] > 2 * found.probability[0]
