"""What can be said of live features: true, unusual, in words of both languages."""

import numpy as np
import pytest

from features.catalogue import NAMES
from models.folder import Baseline, BaselineDistribution
from models.live_topics import live_topics
from models.statements import Facts
from models.topics import statement
from models.usual import Usual
from vedette.wording import reason, text_of

LIVE = [name for name in NAMES if "_live_" in name or name.startswith("incoming_")]
CODES = {one.code for topic in live_topics() for one in topic.statements}

WORDS = [
    ({"merchant_live_new_accounts_10min": 12}, "merchant-first-payers",
     "12 first payments of accounts at this merchant in 10 minutes; for 98% of payments it is at most 1"),
    ({"device_live_count_1h": 9}, "device-busy-now",
     "9 payments from this device in 1 hour; for 98% of payments it is at most 1"),
    ({"payee_live_sum_1d": 4_300.5}, "payee-money-now",
     "4,300.50 EUR paid to this payee in 24 hours; for 98% of payments it is at most 1.00 EUR"),
    ({"ip_live_small_share_10min": 1.5, "ip_live_count_10min": 8}, "address-small-now", None),
    ({"merchant_live_frauds_7d": 2}, "merchant-frauds-now",
     "2 payments at this merchant in 7 days already confirmed as fraud"),
    ({"payee_live_frauds_known": 1}, "payee-frauds-known", "1 payment to this payee already confirmed as fraud"),
    ({"payee_live_age_days": 0.5}, "payee-appeared",
     "the first payment to this payee was 12 hours ago; for 95% of payments it is at least 24 hours"),
    ({"incoming_senders_1h": 6}, "incoming-senders",
     "money from 6 accounts in 1 hour; for 98% of payments it is at most 1"),
    ({"incoming_sum_1h": 900.0}, "incoming-money",
     "900.00 EUR received in 1 hour; for 98% of payments it is at most 1.00 EUR"),
    ({"incoming_passed_on_1h": 0.95, "incoming_sum_1h": 900.0}, "incoming-passed-on",
     "95% of the money received in 1 hour is paid on with this payment"),
]  # fmt: skip


def facts(values: dict[str, float], *, known: bool = True) -> Facts:
    """Return a payment in EUR with these features, where each live feature is 1 in all of training, or not known."""
    ones = {name: BaselineDistribution(missing=0.0, quantiles=[1.0] * 101) for name in LIVE} if known else {}
    baseline = Baseline(levels=[], features=ones, score=BaselineDistribution(missing=0.0, quantiles=[]), currency="EUR")
    row = np.full(len(NAMES), np.nan)
    for name, value in values.items():
        row[NAMES.index(name)] = value
    return Facts(row.tolist(), Usual(baseline, 7.0), "EUR")


@pytest.mark.parametrize(("values", "code", "words"), WORDS)
def test_a_statement_names_what_is_unusual(values: dict[str, float], code: str, words: str | None) -> None:
    """The topic of a feature says what is unusual, and what is usual, in both languages."""
    said = [found for topic in live_topics() if (found := statement(topic, facts(values)))]
    (found,) = [one for one in said if one[0] == code]
    made = reason(*found)
    assert words is None or text_of(made, "en") == words
    assert text_of(made, "es") != text_of(made, "en")


def test_every_code_is_worded_from_its_own_values() -> None:
    """With every live feature high, or young, each statement gives the values that its texts ask for."""
    high = facts(dict.fromkeys(LIVE, 50.0) | {name: 0.5 for name in LIVE if name.endswith("_age_days")})
    made = {one.code: one.values(high) for topic in live_topics() for one in topic.statements}
    assert {code for code, values in made.items() if values is None} == set()
    assert made.keys() == CODES
    for code, values in made.items():
        assert values is not None
        for language in ("en", "es"):
            assert "{" not in text_of(reason(code, values), language)


def test_what_is_absent_ordinary_or_not_known_is_no_reason() -> None:
    """Missing, zero and usual values say nothing, nor does a model that was not trained on live features."""
    for values in ({}, dict.fromkeys(LIVE, 0.0) | {name: 9.0 for name in LIVE if name.endswith("_age_days")}):
        assert not [topic for topic in live_topics() if statement(topic, facts(values))]
    high = facts({name: 50.0 for name in LIVE if "frauds" not in name}, known=False)
    assert not [topic for topic in live_topics() if statement(topic, high)]
