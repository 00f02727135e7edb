"""The kernels against the oracle, while every event is kept individually."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.backfill import Backfill, backfill
from features.catalogue import NAMES
from features.engine import stateless_features
from tests.features.oracle import Event, Payment
from tests.features.streams import (
    START,
    Past,
    assert_agree,
    batch_of,
    batch_of_past,
    columns_of,
    histories,
    past_through_oracle,
    streams,
    through_kernel,
    through_oracle,
    truth,
)
from vedette.clock import DAY, HOUR
from vedette.errors import InputError
from vedette.events import MAX_AMOUNT


@settings(deadline=None, max_examples=200)
@given(streams())
def test_kernel_agrees_with_oracle(events: list[Event]) -> None:
    """In whatever order events arrive, every feature is what the catalogue says."""
    assert_agree(through_kernel(events, 1000).features, through_oracle(events))


@settings(deadline=None, max_examples=100)
@given(streams())
def test_batches_change_no_bit(events: list[Event]) -> None:
    """Splitting a stream into other batches changes neither a feature nor a state."""
    whole = through_kernel(events, 1000)
    assert through_kernel(events, 1).same_bits(whole)
    assert through_kernel(events, 7).same_bits(whole)


@settings(deadline=None, max_examples=100)
@given(histories())
def test_backfill_agrees_with_oracle(history: list[Past]) -> None:
    """Offline, too, every feature is what the catalogue says; a label takes effect when known or after the delay."""
    assert_agree(Backfill().advance(batch_of_past(history)), past_through_oracle(history))


@settings(deadline=None, max_examples=40)
@given(histories(), st.sampled_from((1, 2, 14, 30)))
def test_the_label_delay_is_what_the_deployment_says(history: list[Past], days: int) -> None:
    """Labels take effect after that many days, and entity features end there, for every delay that settings allow."""
    state = Backfill(label_delay=days * DAY)
    assert_agree(state.advance(batch_of_past(history)), past_through_oracle(history, days * DAY))


@settings(deadline=None, max_examples=50)
@given(histories())
def test_backfill_batches_change_no_bit(history: list[Past]) -> None:
    """Splitting a history into other batches changes neither a feature nor a state."""
    whole, state = batch_of_past(history), Backfill()
    expected = state.advance(whole)
    for cut in (1, 7):
        pieces = Backfill()
        out = list(backfill((whole.slice(start, cut) for start in range(0, len(whole), cut)), pieces))
        features = np.concatenate([np.column_stack([batch.column(name) for name in NAMES]) for batch in out])
        assert np.array_equal(features.view(np.int64), expected[state.pays].view(np.int64))
        assert (pieces.accounts, pieces.entities) == (state.accounts, state.entities)


@settings(deadline=None, max_examples=50)
@given(histories())
def test_online_and_offline_are_one(history: list[Past]) -> None:
    """Without labels the features and states of a backfill are those of the stream, bit for bit."""
    payments = [past.payment for past in history]
    online, offline = through_kernel(payments, 7), Backfill()
    features = offline.advance(batch_of(payments))
    of_accounts = slice(0, NAMES.index("merchant_count_1d"))
    assert np.array_equal(features[:, of_accounts].view(np.int64), online.features[:, of_accounts].view(np.int64))
    assert offline.accounts == online.accounts


def test_backfill_refuses_disorder() -> None:
    """A history that is not in order of event time is refused, within a batch and between batches."""
    early, late = Payment("t1", "a", START, 5), Payment("t2", "a", START + 1, 5)
    with pytest.raises(InputError, match="order of event time"):
        Backfill().advance(batch_of([late, early]))
    state = Backfill()
    state.advance(batch_of([late]))
    with pytest.raises(InputError, match="order of event time"):
        state.advance(batch_of([early]))


def test_backfill_carries_identity_and_labels() -> None:
    """Each batch of a backfill has ids, labels, groups and extra columns before the features."""
    batch = batch_of_past([Past(Payment("t1", "a", START, 500), START + DAY)])
    (out,) = backfill([batch.append_column("extra.risk", batch.column("lat"))])
    carried = {
        "transaction_id", "account_id", "event_time", "amount", "currency", "country", "fraud", "labelled_at",
        "extra.risk",
    }  # fmt: skip
    assert set(out.schema.names[: -len(NAMES)]) == carried
    assert tuple(out.schema.names[-len(NAMES) :]) == NAMES


def test_deviation_of_a_small_amount_from_equal_large_ones() -> None:
    """An account that always pays the same has no deviation to measure by, however large its amounts are."""
    amounts = [333_333_333_333] * 15 + [1]
    events = [Payment(f"t{i}", "a", START + i, amount) for i, amount in enumerate(amounts)]
    assert np.isnan(through_kernel(events, 8).of("amount_deviation_30d")[-1])


def test_an_outlier_is_measured_by_what_was_before_it() -> None:
    """The largest possible amount, in standard deviations of the small ones before it, is exact to the last digits."""
    amounts = [1000, 2000] * 5 + [MAX_AMOUNT]
    events = [Payment(f"t{i}", "a", START + i, amount) for i, amount in enumerate(amounts)]
    deviation = through_kernel(events, 11).of("amount_deviation_30d")[-1]
    assert deviation == pytest.approx((MAX_AMOUNT - 1500) / 500, rel=1e-12)


def test_an_outlier_moves_what_is_typical_by_little() -> None:
    """A payment of a thousand times the typical amount counts as three times, and is seen as unusual for two weeks."""
    usual = [Payment(f"u{i}", "a", START + i, 100) for i in range(5)]
    outlier = Payment("o", "a", START + HOUR, 100_000)
    later = [Payment(f"l{days}", "a", START + HOUR + days * DAY, 100) for days in (1, 7, 14)]
    result = through_kernel([*usual, outlier, *later], 3)
    assert result.of("amount_to_typical")[5] == 1000
    assert result.of("account_typical")[6] == pytest.approx(1 + 2 / 6)
    assert result.of("unusual_count_7d")[5:] == [0, 1, 0, 0]
    assert result.of("unusual_count_14d")[5:] == [0, 1, 1, 0]
    assert result.of("largest_to_typical_14d")[6] == pytest.approx(1000 / (1 + 2 / 6))


def test_a_run_of_frauds_ends_at_the_last_honest_payment() -> None:
    """Frauds at a merchant form a run from the first one after its last honest payment, once they have arrived."""
    honest = Payment("h", "a", START, 100, merchant_id="m")
    same_moment = Payment("s", "b", START, 100, merchant_id="m")
    frauds = [Payment(f"f{day}", "c", START + day * DAY, 900 - day, merchant_id="m") for day in (1, 2, 10)]
    labels = [truth(p, fraud=True) for p in (same_moment, *frauds)]
    asked = [Payment(f"q{day}", "d", START + day * DAY, 100, merchant_id="m") for day in (7, 9, 40)]
    result = through_kernel([same_moment, honest, *frauds, *labels, *asked], 4)

    def of(name: str) -> list[float]:
        return result.of(f"merchant_{name}")[-3:]

    assert of("fraud_run") == [0, 2, 1]
    assert np.array_equal(of("fraud_run_days"), [np.nan, 8, 30], equal_nan=True)
    assert np.array_equal(of("run_amount"), [np.nan, 8.98, 8.90], equal_nan=True)
    assert of("honest_days") == [7, 9, 31]


def test_drain_after_a_payment_far_beyond_the_balance() -> None:
    """The fraction of a small balance is exact to the last digits even if the largest possible amount drains it."""
    events = [Payment("t1", "a", START, 3), Payment("t2", "a", START + 1, MAX_AMOUNT - 7, balance=11)]
    drained = through_kernel(events, 2).of("drain_1d")[-1]
    assert drained == pytest.approx((MAX_AMOUNT - 4) / 14, rel=1e-15)


def test_a_label_before_its_payment_does_not_hide_others() -> None:
    """A payment sees the earlier arrivals of its own time, even if its label arrived before them."""
    late, other = Payment("t1", "a", START, 100), Payment("t2", "a", START, 100)
    result = through_kernel([truth(late, fraud=True), other, late], 3)
    assert result.of("account_count_1min") == [1, 2]


def test_labels_far_ahead_do_not_make_a_merchant_forget() -> None:
    """Labels that are read long before their payments, as when history is replayed, change no merchant's memory."""
    payments = [Payment(f"t{day}", "a", START + day * DAY, 100, merchant_id="m") for day in range(150)]
    labels = [truth(p, fraud=True) for p in payments]
    *past, now = payments[:61]
    result = through_kernel([*labels, *past, now], 1000)
    assert result.of("merchant_count_30d")[-1] == 30
    assert result.of("merchant_fraud_rate_30d")[-1] == 1


def test_entities_of_one_name_are_told_apart_by_their_kind() -> None:
    """A device with the name of a merchant has its own history, and so has an address."""
    past = Payment("t1", "a", START, 100, merchant_id="x", ip_address="y")
    now = Payment("t2", "a", START + 8 * DAY - 1, 100, merchant_id="x", device_id="x", ip_address="x")
    result = through_kernel([past, now], 2)
    assert [result.of(f"{kind}_count_1d")[-1] for kind in ("merchant", "device", "ip")] == [1, 0, 0]


def test_accounts_at_a_device_are_counted_once_and_after_the_delay() -> None:
    """A device shared by three accounts shows three after a week, whatever the number of their payments."""
    shared = [Payment(f"t{i}", f"a{i % 3}", START + i, 100, device_id="d") for i in range(9)]
    soon, later = (Payment(f"s{days}", "a0", START + days * DAY, 100, device_id="d") for days in (1, 8))
    assert through_kernel([*shared, soon, later], 4).of("device_accounts_30d")[-2:] == [0, 3]


def test_a_late_event_sees_no_future() -> None:
    """A late payment has the features it would have had in time, except for place and typical amounts."""
    first, late, last = (Payment(f"t{i}", "a", START + i * HOUR, 100 + i, lat=1.0, lon=1.0) for i in range(3))
    in_time, too_late = through_kernel([first, late], 3), through_kernel([first, last, late], 3)
    expected, found = in_time.features[-1].copy(), too_late.features[-1].copy()
    expected[[NAMES.index(name) for name in ("distance_km", "speed_kmh")]] = np.nan
    # What is typical of an account is known as of its newest payment alone.
    typical = [column for column, name in enumerate(NAMES) if "typical" in name or name.startswith("unusual_count")]
    expected[typical] = found[typical] = np.nan
    assert np.array_equal(found, expected, equal_nan=True)


def test_stateless_features_are_the_kernels_own() -> None:
    """Features without history are the same in degraded scoring; all others are missing there."""
    payment = Payment("t", "a", START, 1250, balance=10_000, account_opened_at=START - DAY)
    columns, _ = columns_of([payment])
    degraded, full = stateless_features(columns)[0], through_kernel([payment], 1).features[0]
    known = ~np.isnan(degraded)
    assert np.array_equal(degraded[known], full[known])
    names = {"amount_major", "hour", "weekday", "is_night", "is_weekend", "amount_to_balance", "account_age_days"}
    assert {name for name, there in zip(NAMES, known, strict=True) if there} == names
