"""Beyond EXACT events in memory: hourly tiles, their stated error, and bounded memory.

The stated error: what was folded into an hour's tile counts as if it had happened with the last event of that tile, so
a window's old edge is rounded to the hour. Which identifiers were used is known of the events kept one by one.
"""

import random
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from features.catalogue import LABEL_DELAY, NAMES
from features.engine import advance_accounts
from features.kernel_account import HORIZON as ACCOUNT_HORIZON
from features.kernel_delayed import BEYOND_DELAY
from features.rows import EXACT, FOLD, LARGEST_SUM, MOST
from tests.features.oracle import AccountOracle, EntityOracle, Event, Payment
from tests.features.streams import START, ask, columns_of, through_kernel, truth
from vedette.clock import DAY, HOUR, MINUTE
from vedette.events import MAX_AMOUNT

# What is counted, summed or compared over windows. Ranks, habits and identifiers need the single event.
_OVER_WINDOWS = [f"account_{what}_{window}" for what in ("count", "sum", "mean", "max", "std") for window in
                 ("1h", "6h", "1d", "7d", "30d")]  # fmt: skip
_OVER_WINDOWS += ["amount_to_mean_30d", "amount_to_max_30d", "amount_deviation_30d", "day_total", "month_total"]
_LIFETIME = ["account_lifetime_count", "account_mean_lifetime", "account_frauds"]


def busy(count: int, days: float, seed: int = 1, late: int = 0) -> list[Payment]:
    """A busy account's payments over this many days, some of them late by up to `late` milliseconds."""
    dice = random.Random(seed)  # noqa: S311 - the same payments in every run
    times = sorted(dice.randrange(int(days * DAY)) for _ in range(count))
    delays = [dice.choice((0, 0, 0, dice.randrange(late + 1))) for _ in times]
    return [
        Payment(f"t{i}", "a", START + t - delay, dice.choice((50, 999, 20_000)), merchant_id="m")
        for i, (t, delay) in enumerate(zip(times, delays, strict=True))
    ]


def as_remembered(payments: list[Payment]) -> list[Payment]:
    """Return payments in order of time, as kept once all have arrived: folded ones are moved to their tile's end."""
    single: list[Payment] = []
    folded: list[Payment] = []
    for payment in payments:
        single.append(payment)
        if len(single) == EXACT + FOLD:
            folded += single[:FOLD]
            del single[:FOLD]
    ends = {payment.event_time // HOUR: payment.event_time for payment in folded}
    return [replace(p, event_time=ends[p.event_time // HOUR]) for p in folded] + single


@pytest.mark.parametrize("days", [2, 25, 45])
def test_windows_over_tiles_have_the_stated_error_and_no_other(days: int) -> None:
    """Every number over a window is exact for events that happened at the end of their tile."""
    payments = busy(1500, days)
    features = through_kernel(payments, 1000)
    for i in (500, 600, 700, 1023, 1024, 1499):
        oracle = AccountOracle()
        for p in as_remembered(payments[:i]):
            oracle.show(p)
        expected = oracle.features(payments[i])
        for name in _OVER_WINDOWS:
            assert features.of(name)[i] == pytest.approx(expected[name], rel=1e-9, abs=1e-9), (name, i)


def test_what_needs_no_old_edge_stays_exact() -> None:
    """Windows within the last EXACT events, lifetime numbers and frauds have no error."""
    payments = busy(1500, 25)
    labels = [truth(p, fraud=True) for p in payments[0:1400:100]]
    features = through_kernel([*payments[:1400], *labels, *payments[1400:]], 1000)
    oracle = AccountOracle()
    for p in payments[:1400]:
        oracle.show(p)
    for label in labels:
        oracle.label(label)
    expected = [oracle.pay(p) for p in payments[1400:]]
    names = [*_LIFETIME, "account_count_7d", "account_sum_7d", "account_std_7d", "distinct_merchants_7d", "day_total"]
    for name in names:
        assert features.of(name)[1400:] == pytest.approx([row[name] for row in expected], rel=1e-9), name
    assert expected[-1]["account_frauds"] > 5


def test_a_late_event_among_tiles_is_off_by_at_most_an_hour() -> None:
    """A late event sees everything up to the hour before its own, and nothing from before its window's hour."""
    payments = busy(3000, 25, late=10 * DAY)
    counts = through_kernel(payments, 1000).of("account_count_1d")
    for i in range(0, len(payments), 50):
        t = payments[i].event_time
        earlier = [p.event_time for p in payments[:i]]
        fewest = len([u for u in earlier if t - DAY < u and u // HOUR < t // HOUR])
        most = len([u for u in earlier if (t - DAY) // HOUR <= u // HOUR and u <= t])
        assert fewest + 1 <= counts[i] <= most + 1


def test_merchant_windows_over_tiles() -> None:
    """Merchant features are exact for payments that happened at the end of their tile."""
    payments = busy(1500, 40)
    frauds = [p for p in payments if int(p.transaction_id[1:]) % 7 == 0]
    labels = {p: truth(p, fraud=True) for p in frauds}
    events: list[Event] = []
    for p in payments:
        events += [p, labels[p]] if p in labels else [p]
    times = [START + day * DAY + 1 for day in range(20, 48)]
    asked = [Payment(f"q{t}", "b", t, 1, merchant_id="m") for t in times]
    features = np.empty((len(asked), len(NAMES)))
    ask(asked, through_kernel(events, 1000).entities, features)
    oracle = EntityOracle()
    for p in as_remembered(payments):
        oracle.pay(p)
        if any(fraud.transaction_id == p.transaction_id for fraud in frauds):
            oracle.label(truth(p, fraud=True))
    names = [name for name in NAMES if name.startswith(("merchant_count", "merchant_fraud_rate", "merchant_honest"))]
    for payment, row in zip(asked, features, strict=True):
        expected = oracle.query("merchant", payment)
        for name in names:
            assert row[NAMES.index(name)] == pytest.approx(expected[name], rel=1e-12), (name, payment)


@pytest.mark.parametrize("late", [0, 20 * DAY])
def test_batches_change_no_bit_beyond_the_exact_events(late: int) -> None:
    """Folding depends only on the order of events, and never on their batches."""
    payments = busy(1300, 30, late=late)
    events = [event for p in payments for event in (p, truth(p, fraud=p.amount == 999))]
    whole = through_kernel(events, 1000)
    assert through_kernel(events, 7).same_bits(whole)
    assert through_kernel(events[:], 1).same_bits(whole)


@pytest.mark.parametrize("days", [0.5, 20, 300])
@pytest.mark.parametrize("late", [0, HOUR, 40 * DAY])
def test_memory_is_bounded(days: float, late: int) -> None:
    """After 20,000 events an account and a merchant hold at most EXACT + FOLD events and one tile an hour."""
    result = through_kernel(busy(20_000, days, late=late), 5000)
    (account,), (merchant,) = result.accounts.values(), result.entities.values()
    assert row_count(account) <= EXACT + FOLD + ACCOUNT_HORIZON // HOUR + 1
    assert row_count(merchant) <= EXACT + FOLD + (BEYOND_DELAY + LABEL_DELAY) // HOUR + 1
    assert len(account) < 32_000
    assert len(merchant) < 16_000


def row_count(blob: bytes) -> int:
    """Number of rows in a blob."""
    return int.from_bytes(blob[1:3], "little")


def test_late_events_in_order_share_a_tile() -> None:
    """Late events of an hour whose tile has already ended join that tile instead of creating a new one."""
    payments = busy(2000, 25)
    hour = payments[100].event_time // HOUR * HOUR
    late = [Payment(f"l{i}", "a", hour + HOUR - MINUTE + i, 100) for i in range(1000)]
    before, after = through_kernel(payments, 1000), through_kernel([*payments, *late], 1000)
    assert row_count(after.accounts["a"]) <= row_count(before.accounts["a"]) + 1


def test_a_label_goes_to_the_tile_of_its_payment() -> None:
    """A fraud that was the last event of its tile is counted there, and not in the next one."""
    payments = busy(1500, 40)
    last_of_hour = [p for p, q in pairwise(payments) if p.event_time // HOUR < q.event_time // HOUR]
    fraud = last_of_hour[200]
    t = fraud.event_time + 7 * DAY
    asked = [Payment(f"q{i}", "a", t + i, 1, merchant_id="m") for i in (-1, 0)]
    features = through_kernel([*payments, truth(fraud, fraud=True), *asked], 1000)
    assert features.of("account_frauds")[-2:] == [0, 1]
    assert features.of("merchant_fraud_rate_1d")[-2] == 0
    assert features.of("merchant_fraud_rate_1d")[-1] > 0


def test_labels_without_payments_are_bounded() -> None:
    """Labels whose payments never arrive cannot fill the memory, and no confirmed fraud is lost."""
    count = 5000
    payments = [Payment(f"t{i}", "a", START + i * HOUR, 1, merchant_id="m") for i in range(count)]
    now = Payment("t", "a", START + (count + 1000) * HOUR, 1)
    result = through_kernel([*(truth(p, fraud=True) for p in payments), now], 700)
    assert result.of("account_frauds") == [count]
    assert row_count(result.accounts["a"]) == 1
    for blob in through_kernel([truth(p, fraud=True) for p in payments], 700).accounts.values():
        assert row_count(blob) <= MOST


def test_the_largest_sums_stop_instead_of_turning_negative() -> None:
    """Ten thousand of the largest amount give a sum that stops growing and is never negative."""
    count = 10_000
    columns, label = columns_of([Payment(f"t{i}", "a", START + i, MAX_AMOUNT) for i in range(count)])
    features = advance_accounts([None], np.zeros(count, np.int64), columns, label).features
    for name in ("account_sum_1h", "month_total", "day_total"):
        sums = features[:, NAMES.index(name)]
        assert np.all(np.diff(sums) >= 0)
        assert sums[-1] == LARGEST_SUM / 100
