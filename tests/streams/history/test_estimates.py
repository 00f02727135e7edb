import numpy as np
import pytest

from models.metrics import wilson
from streams.history.estimates import Estimate, difference, rate


def estimate(hits: int, number: int) -> Estimate:
    """Return the estimate of independent observations."""
    value, low, high = wilson(hits / number, number)
    return Estimate(value=value, low=low, high=high)


def test_wilsons_interval_is_the_published_one() -> None:
    """81 of 263 gives .255 to .366 (Newcombe 1998, Stat. Med. 17, 857, table I)."""
    _, low, high = wilson(81 / 263, 263)
    assert low == pytest.approx(0.2553, abs=5e-5)
    assert high == pytest.approx(0.3662, abs=5e-5)


def test_newcombes_interval_is_the_published_one() -> None:
    """56 of 70 less 48 of 80 gives .0524 to .3339 (Newcombe 1998, Stat. Med. 17, 873, table II)."""
    found = difference(estimate(56, 70), estimate(48, 80))
    assert found
    assert found.low == pytest.approx(0.0524, abs=5e-5)
    assert found.high == pytest.approx(0.3339, abs=5e-5)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_none_and_all_still_have_a_width(value: float) -> None:
    """With none or all of three accounts, the interval ends exactly there and is wide."""
    found = rate(np.full(3, value), np.ones(3))
    assert value in (found.low, found.high)
    assert (found.high or 0) - (found.low or 0) > 0.5


def test_the_more_payments_of_an_account_agree_the_wider_the_interval() -> None:
    """Ten payments each of a hundred accounts that always agree count no more than a hundred payments."""
    hits = (np.arange(100) < 30).astype(np.float64)
    alike, single = rate(10 * hits, np.full(100, 10.0)), rate(hits, np.ones(100))
    assert alike.low == pytest.approx(single.low, abs=2e-3)
    assert alike.high == pytest.approx(single.high, abs=2e-3)


@pytest.mark.parametrize("accounts", [15, 60, 400])
def test_nineteen_of_twenty_intervals_hold_the_truth(accounts: int) -> None:
    """Over clustered samples of few and many accounts, about 95 % of the intervals hold the true rate."""
    rng = np.random.default_rng(accounts)
    held = 0
    for _ in range(1_000):
        own = rng.beta(1, 9, accounts)  # each account has a rate of its own, in the mean 10 %
        trials = rng.integers(1, 20, accounts)
        found = rate(rng.binomial(trials, own).astype(np.float64), trials.astype(np.float64))
        held += (found.low or 0) <= 0.1 <= (found.high or 0)
    assert held >= 920


def test_a_difference_without_an_interval_is_unknown() -> None:
    """Where one of the rates is missing or has no interval, no difference is given."""
    whole, bare = estimate(5, 10), Estimate(value=0.5, low=None, high=None)
    assert difference(whole, None) is None
    assert difference(whole, bare) is None
