"""How close payments bring their account to its limits."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.backfill import Backfill
from features.catalogue import NAMES
from features.limits import Allowance
from tests.features.oracle import Payment
from tests.features.streams import START, batch_of
from vedette.clock import HOUR
from vedette.money import exponent

PREPAID = Allowance("EUR", (10_000, 50_000), "prepaid", {"rich": (90_000, None)})
EVERYBODY = Allowance("EUR", (None, 40_000))
YEN = Allowance("JPY", (300, 0))


def ratios(
    payments: list[Payment], types: list[str | None], limits: list[Allowance], cut: int = 1000
) -> list[list[float]]:
    """Return day_to_limit and month_to_limit of payments, each of an account of the given type."""
    batch = batch_of(payments).append_column("account_type", pa.array(types, pa.string()))
    state = Backfill(limits)
    features = np.concatenate([state.advance(batch.slice(start, cut)) for start in range(0, len(batch), cut)])
    both: list[list[float]] = features[:, [NAMES.index("day_to_limit"), NAMES.index("month_to_limit")]].tolist()
    return both


def test_the_lowest_limit_that_concerns_the_account_counts() -> None:
    """A prepaid account has its own daily limit and everybody's lower monthly one; others have only the latter."""
    payments = [Payment("t1", "a", START, 5_000), Payment("t2", "b", START, 5_000)]
    first, second = ratios(payments, ["prepaid", "debit"], [PREPAID, EVERYBODY])
    assert first == [0.5, 0.125]
    assert np.array_equal(second, [np.nan, 0.125], equal_nan=True)


def test_an_account_may_have_limits_of_its_own() -> None:
    """The limit of an account replaces that of its type; no amount means no limit."""
    (rich,) = ratios([Payment("t", "rich", START, 45_000)], ["prepaid"], [PREPAID])
    assert np.array_equal(rich, [0.5, np.nan], equal_nan=True)
    (of_other_type,) = ratios([Payment("t", "rich", START, 45_000)], ["debit"], [PREPAID])
    assert np.isnan(of_other_type).all()


def test_spending_a_limit_to_the_last_cent_is_exactly_one() -> None:
    """A total equal to the limit gives exactly 1 and a cent more gives more, however the cents add up."""
    amounts = [1, 29, 70, 9_900, 1]
    payments = [Payment(f"t{i}", "a", START + i, amount) for i, amount in enumerate(amounts)]
    days = [day for day, _ in ratios(payments, ["prepaid"] * 5, [PREPAID])]
    assert days[3] == 1
    assert days[4] > 1


@pytest.mark.filterwarnings("error")
def test_a_limit_of_nothing_is_exceeded_without_bound() -> None:
    """With a limit of 0 any amount gives infinity, except a payment of 0."""
    payments = [Payment("t0", "a", START, 0, "JPY"), Payment("t1", "a", START, 1, "JPY")]
    nothing, something = ratios(payments, [None, None], [YEN])
    assert np.isnan(nothing[1])
    assert something[1] == np.inf


def test_without_limits_both_are_missing() -> None:
    """Without a policy there is no ratio."""
    assert np.isnan(ratios([Payment("t", "a", START, 1)], ["prepaid"], [])).all()


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(("a", "rich")), st.integers(0, 20 * HOUR), st.integers(0, 99_999),
            st.sampled_from(("EUR", "JPY")), st.sampled_from(("prepaid", "debit", None)),
        ),
        min_size=1, max_size=30,
    )
)  # fmt: skip
def test_ratios_are_totals_over_limits(rows: list[tuple[str, int, int, str, str | None]]) -> None:
    """For any payments and any batches, each ratio is the catalogue's total over the limit found by hand."""
    rows.sort(key=lambda row: row[1])
    payments = [Payment(f"t{i}", row[0], START + row[1], row[2], row[3]) for i, row in enumerate(rows)]
    types = [row[4] for row in rows]
    limits = [PREPAID, EVERYBODY, YEN]
    found = ratios(payments, types, limits)
    totals = Backfill().advance(batch_of(payments))[:, [NAMES.index("day_total"), NAMES.index("month_total")]]
    for p, kind, ratio, total in zip(payments, types, found, totals.tolist(), strict=True):
        for k in (0, 1):
            amounts = [
                limit.accounts.get(p.account_id, limit.amounts)[k]
                for limit in limits
                if limit.currency == p.currency and limit.account_type in {None, kind}
            ]
            lowest = min((amount for amount in amounts if amount is not None), default=None)
            if lowest is None or (lowest == 0 and total[k] == 0):
                assert np.isnan(ratio[k])
            elif lowest == 0:
                assert ratio[k] == np.inf
            else:
                assert ratio[k] == total[k] / (lowest / 10 ** exponent(p.currency))
    assert np.array_equal(ratios(payments, types, limits, cut=7), found, equal_nan=True)
