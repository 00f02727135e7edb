from pathlib import Path

import numpy as np
import pytest

from decisions.policy_file import load_policy
from features.catalogue import CATALOGUE, NAMES
from models.explain import LEAST, reasons
from models.importance import importance
from models.scorer import Scorer, load_scorer
from models.topics import TOPICS
from vedette.wording import codes, languages, templates

ROOT = Path(__file__).parents[2]
HABIT = {"account_count_30d": 61.0, "account_sum_30d": 6_100.0, "account_typical": 100.0}
"""An account that pays 100.00 twice a day."""


@pytest.fixture(scope="module")
def demo() -> Scorer:
    """The model that ships."""
    return load_scorer(ROOT / "models/demo")


def row(**values: float) -> np.ndarray:
    """Return a payment with these features; the others are missing."""
    made = np.full((1, len(NAMES)), np.nan)
    for name, value in values.items():
        made[0, NAMES.index(name)] = value
    return made


class Told(Scorer):
    """A scorer with given contributions, so that its texts can be checked."""

    def __init__(self, demo: Scorer, **given: float) -> None:
        vars(self).update(vars(demo))
        self._given = given

    def contributions(self, matrix: np.ndarray) -> np.ndarray:
        """Return the given contributions for every row."""
        return np.tile([self._given.get(name, 0.0) for name in self.names], (len(matrix), 1))


def said(demo: Scorer, *features: str, **values: float) -> list[str]:
    """Return the texts about a payment in EUR whose score these features have raised."""
    (found,) = reasons(Told(demo, **dict.fromkeys(features, 1.0)), row(**values), ["EUR"])
    return [reason.text for reason in found]


@pytest.mark.parametrize(
    ("feature", "values", "words"),
    [
        ("account_count_10min", {"account_count_10min": 11, "account_count_30d": 41},
         "11 payments in 10 minutes; the account usually makes 1 a day"),
        ("account_count_1h", {"account_count_1h": 4, "account_count_30d": 4},
         "4 payments in 1 hour, after none in the 30 days before"),
        ("account_sum_1d", {"account_sum_1d": 900.0, "account_sum_30d": 1190.0, "account_count_1d": 3,
                            "amount_major": 300.0},
         "900.00 EUR in 24 hours; the account usually spends 10.00 EUR a day"),
        ("amount_major", {"amount_major": 950.0, "amount_to_typical": 9.5, "amount_rank_30d": 1.0},
         "950.00 EUR is 9.5 times the account's usual amount of 100.00 EUR"),
        ("amount_major", {"amount_major": 950.0}, "950.00 EUR is more than 98% of payments (at most LARGE EUR)"),
        ("amount_rank_30d", {"amount_major": 0.5, "amount_to_typical": 0.005, "amount_rank_30d": 0.0},
         "0.50 EUR is far below the account's usual amount of 100.00 EUR"),
        ("seconds_since_last", {"seconds_since_last": 40.0, "gap_to_mean_30d": 0.001},
         "40 seconds after the previous payment; usually it is 11 hours"),
        ("gap_to_mean_30d", {"seconds_since_last": 20 * 86_400.0, "gap_to_mean_30d": 10.0},
         "first payment after 20 days; usually it is 2 days"),
        ("is_night", {"hour": 3, "is_night": 1.0, "hour_habit_30d": 0.0},
         "made around 03:00 UTC, when the account made none of its 60 payments of the last 30 days"),
        ("hour", {"hour": 3, "hour_habit_30d": 1 / 60},
         "made around 03:00 UTC, when the account made only 1 of its 60 payments of the last 30 days"),
        ("is_new_device", {"is_new_device": 1.0},
         "first payment from this device; the account made 60 payments in the 30 days before"),
        ("speed_kmh", {"distance_km": 8_000.0, "speed_kmh": 16_000.0},
         "8,000 km from the payment 30 minutes before: nobody travels that fast"),
        ("merchant_fraud_rate_30d", {"merchant_fraud_rate_30d": 0.25, "merchant_count_30d": 12},
         ("fraud in 3 of 12 payments at this merchant (25%), in 30 days up to 7 days ago; for 95% of payments it is at "
          "most RATE%")),
        ("account_frauds", {"account_frauds": 1}, "1 earlier payment of this account confirmed as fraud"),
        ("amount_to_balance", {"amount_major": 500.0, "amount_to_balance": 2.0},
         "500.00 EUR is more than the balance of 250.00 EUR"),
    ],
)  # fmt: skip
def test_words_say_what_is_usual(demo: Scorer, feature: str, values: dict[str, float], words: str) -> None:
    """A reason names the value, what is usual, and the unit or currency."""
    large, rate = demo.usual.at("amount_major", 98), 100 * demo.usual.at("merchant_fraud_rate_30d", 95)
    words = words.replace("LARGE", f"{large:.2f}").replace("RATE", f"{rate:.1f}".removesuffix(".0"))
    assert said(demo, feature, **HABIT | values) == [words]


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"account_frauds": 0},
        {"seconds_since_last": np.nan, "gap_to_mean_30d": np.nan},
        {"account_count_1d": 3, "account_count_7d": 14},
        {"amount_major": 120.0, "amount_to_typical": 1.2, "amount_rank_30d": 0.7},
        {"used_category_30d": 0, "is_new_merchant": 1.0},
        {"hour": 3, "is_night": 1, "is_weekend": 1, "weekday": 6, "hour_habit_30d": 0.1},
        {"merchant_fraud_rate_30d": 0.0, "merchant_count_30d": 0, "merchant_fraud_run": 0, "ip_count_30d": 0},
        {"distance_km": 40.0, "speed_kmh": 30.0},
        {"account_age_days": 2_000, "account_lifetime_count": 150},
        {"amount_to_balance": 0.01, "drain_1d": 0.02, "day_to_limit": 0.1},
        {"distinct_merchants_7d": 12, "distinct_countries_7d": 1, "distinct_devices_7d": 1, "distinct_payees_7d": 0},
    ],
)
def test_what_is_absent_zero_or_ordinary_is_no_reason(demo: Scorer, values: dict[str, float]) -> None:
    """However much every feature adds to the score, a payment without anything unusual gets no reason."""
    assert said(demo, *NAMES, **HABIT | values) == []


def test_every_feature_and_every_statement_has_words() -> None:
    """Each feature of the catalogue belongs to exactly one topic, whose codes have a text in every language."""
    features = [feature for topic in TOPICS for feature in topic.features]
    assert sorted(features) == sorted(feature.name for feature in CATALOGUE)
    for topic in TOPICS:
        assert topic.statements
        for statement in topic.statements:
            for language in languages():
                assert statement.code in templates(language)


def test_every_rule_that_ships_speaks_every_language() -> None:
    """A rule of the policy that ships words its reason in each language."""
    for rule in load_policy(ROOT / "decisions/policy.yaml").rules.rules:
        assert rule.reason.code == f"rule.{rule.name}"
        assert rule.reason.texts.keys() == languages().keys()
        assert len(set(rule.reason.texts.values())) == len(languages())


def test_every_code_is_documented() -> None:
    """docs/reasons.md has a row for each code, with its texts as they are."""
    page = (ROOT / "docs/reasons.md").read_text(encoding="utf-8")
    for code in codes():
        (line,) = [line for line in page.splitlines() if line.startswith(f"| `{code}` |")]
        for language in languages():
            assert f" {templates(language)[code].replace('|', '&#124;')} |" in line


def test_one_reason_speaks_for_features_that_say_the_same(demo: Scorer) -> None:
    """Three windows of one count are one reason, and their contributions together are its weight."""
    model = Told(demo, account_count_10min=0.5, account_count_1h=0.6, account_count_1d=0.4, distance_km=1.0)
    values = {"account_count_10min": 9, "account_count_1h": 9, "account_count_1d": 9, "distance_km": 800.0}
    (found,) = reasons(model, row(**HABIT | values), ["EUR"])
    assert [(reason.code, reason.weight) for reason in found] == [("payments-many", 1.5), ("place-far", 1.0)]


@pytest.mark.parametrize("lower", [-2.0, LEAST / 2 - 1.0])
def test_what_does_not_raise_the_score_is_no_reason(demo: Scorer, lower: float) -> None:
    """A topic whose features together lower the score, or hardly raise it, is not given, whatever its value."""
    model = Told(demo, account_count_10min=1.0, account_count_1d=lower)
    assert reasons(model, row(**HABIT | {"account_count_10min": 9, "account_count_1d": 9}), ["EUR"]) == [[]]


def test_a_row_has_the_same_reasons_in_every_batch(demo: Scorer) -> None:
    """A decision made again in another batch has the same bytes, so its weights are equal to the last digit."""
    rows = np.random.default_rng(1).uniform(0, 50, (40, len(NAMES)))
    rows[:, NAMES.index("account_lifetime_count")] = 100
    together = reasons(demo, rows, ["EUR"] * len(rows))
    assert sum(map(len, together)) > len(rows)
    for number in range(len(rows)):
        assert reasons(demo, rows[number : number + 1], ["EUR"]) == [together[number]]


def test_amounts_in_another_currency_than_training_are_not_compared_with_it(demo: Scorer) -> None:
    """950 JPY are not more than 98% of payments in EUR; and they have no decimal places."""
    model = Told(demo, amount_major=1.0)
    assert reasons(model, row(amount_major=950.0), ["JPY"]) == [[]]
    high = row(**HABIT | {"amount_major": 950.0, "amount_to_typical": 9.5})
    assert [found.text for found in reasons(model, high, ["JPY"])[0]] == [
        "950 JPY is 9.5 times the account's usual amount of 100 JPY"
    ]


def test_importance_adds_up_and_finds_what_matters(folder: Path, rows: np.ndarray) -> None:
    """Importances sum to one, and the two columns that determine the fraud come first."""
    scorer = load_scorer(folder)
    found = importance(scorer, rows[:1000])
    assert sum(one.fraction for one in found) == pytest.approx(1)
    assert {one.feature for one in found[:2]} == {"amount_major", "extra.risk"}
