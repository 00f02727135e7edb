"""The live features: against the oracle where the state is exact, within the stated error where it is not."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from features.activity import of_payments, payment_flags, unusualness
from features.backfill import FLAGGED, Backfill
from features.catalogue import CATALOGUE, LIVE, NAMES
from features.engine import advance_accounts, advance_entities, query_entities, slots
from features.kernel_account import DUPLICATE
from features.live_codec import MOST_EVENTS, MOST_SAMPLES, MOST_TILES
from features.signals import ABSENT, SIGNALS, decode_signals, encode_signals
from tests.features.live_oracle import LiveOracle
from tests.features.oracle import AccountOracle, Payment
from tests.features.streams import START, Past, batch_of, batch_of_past, columns_of, histories, truth
from vedette.clock import DAY, HOUR, MINUTE

OF_LIVE = [column for column, name in enumerate(NAMES) if name in LIVE]


def expected(history: list[Past]) -> list[dict[str, float]]:
    """The live features of a history by the oracle, each label shown when it becomes known."""
    accounts = {past.payment.account_id: AccountOracle() for past in history}
    live, rows = LiveOracle(), []
    known: list[tuple[int, int]] = []
    for i, past in enumerate(history):
        p = past.payment
        for known_at, k in sorted(known):
            if known_at <= p.event_time:
                live.label(truth(history[k].payment, fraud=True))
        known = [(known_at, k) for known_at, k in known if known_at > p.event_time]
        account = accounts[p.account_id]
        settled = account.pay(p)
        rows.append(live.pay(p, settled, pays=account.paid(p)))
        if past.known_at is not None and account.paid(p):
            known.append((past.known_at, i))
    return rows


def of(features: NDArray[np.float64], name: str) -> list[float]:
    """One feature of all payments."""
    values: list[float] = features[:, NAMES.index(name)].tolist()
    return values


@settings(deadline=None, max_examples=150)
@given(histories())
def test_backfill_agrees_with_oracle(history: list[Past]) -> None:
    """Every live feature of a history is what the catalogue says, and a fraud is known from its label on."""
    features = Backfill().advance(batch_of_past(history))
    for i, row in enumerate(expected(history)):
        assert set(row) == LIVE
        for name, value in row.items():
            np.testing.assert_allclose(features[i, NAMES.index(name)], value, 1e-9, err_msg=f"{name} of payment {i}")


@settings(deadline=None, max_examples=50)
@given(histories())
def test_the_worker_without_lag_sees_what_the_backfill_sees(history: list[Past]) -> None:
    """Payment by payment, query and activity as in the worker give the backfill's live features, bit for bit."""
    payments = [past.payment for past in history]
    offline = Backfill()
    wanted = offline.advance(batch_of(payments))
    accounts: dict[str, bytes] = {}
    entities: dict[int, bytes] = {}
    for i, p in enumerate(payments):
        columns, _ = columns_of([p])
        advanced = advance_accounts([accounts.get(p.account_id)], np.zeros(1, np.int64), columns)
        accounts[p.account_id] = advanced.blobs[0]
        hashes = np.column_stack([columns.entities, columns.recipient])
        names, slot = slots(hashes.ravel())
        of_payment = np.where(hashes == 0, -1, slot.reshape(hashes.shape))
        signals = query_entities([entities.get(name) for name in names], of_payment, columns, advanced.features)
        carried = decode_signals(encode_signals(signals)[0])
        assert carried is not None
        assert np.array_equal(carried, signals[0])
        advanced.features[:, [NAMES.index(n) for n in NAMES if "flagged" in n]] = np.nan
        live, known = advanced.features[0, OF_LIVE], wanted[i, OF_LIVE]
        assert np.array_equal(live.view(np.int64)[~np.isnan(live)], known.view(np.int64)[~np.isnan(live)])
        assert np.array_equal(np.isnan(live), np.isnan(known))
        if advanced.status[0] == DUPLICATE or not advanced.pays[0]:
            continue
        flags = payment_flags(advanced.features, advanced.new)
        activity = of_payments(columns, unusualness(advanced.features), flags).activity
        touched, slot = slots(activity.entity)
        new = advance_entities([entities.get(e) for e in touched], slot, activity)
        entities.update(zip(touched, new, strict=True))
    assert entities == offline.entities


def busy(n: int, seed: int, accounts: int, span: int) -> list[Payment]:
    """Payments of many accounts at one merchant and to one payee over a span of time, at a varying pace."""
    rng = np.random.default_rng(seed)
    pace = rng.gamma(0.3, 1.0, n)
    times = START + np.sort((np.cumsum(pace) / pace.sum() * span).astype(np.int64))
    who = (rng.pareto(1.0, n) * accounts / 20).astype(np.int64) % accounts
    amounts = rng.integers(1, 2_000, n)
    return [
        Payment(f"t{i}", f"a{who[i]}", int(times[i]), int(amounts[i]), merchant_id="shop", payee="fund")
        for i in range(n)
    ]


@pytest.fixture(scope="module")
def popular() -> tuple[list[Payment], NDArray[np.float64], Backfill]:
    """A popular merchant: 40,000 payments of 8,000 accounts in nine days, by the backfill."""
    payments, state = busy(40_000, 5, 8_000, 9 * DAY), Backfill()
    return payments, state.advance(batch_of(payments)), state


def test_counts_of_a_popular_entity_are_within_the_stated_error(
    popular: tuple[list[Payment], NDArray[np.float64], Backfill],
) -> None:
    """Counts and sums are off by less than what happened in one tile at the window's edge: an eighth of the window."""
    payments, features, _ = popular
    times = np.array([p.event_time for p in payments])
    amounts = np.array([p.amount for p in payments]) / 100
    for name, length in (("10min", 10 * MINUTE), ("1h", HOUR), ("1d", DAY), ("7d", 7 * DAY)):
        longest = max(MINUTE, length // 8)
        for i in range(2_000, len(payments), 997):
            inside = (times[:i] > times[i] - length) & (times[:i] <= times[i])
            edge = (times[:i] > times[i] - length - longest) & (times[:i] <= times[i] - length + longest)
            for what, values in ((f"count_{name}", np.ones(i)), (f"sum_{name}", amounts[:i])):
                error = abs(features[i, NAMES.index(f"merchant_live_{what}")] - values[inside].sum())
                assert error <= values[edge].sum() + 1, (name, i, what)


def test_distinct_accounts_of_popular_entities_are_estimated_without_bias() -> None:
    """Over forty entities of a thousand accounts each, the standard error is at most 18 %, and the mean is right."""
    errors: dict[str, list[float]] = {"1h": [], "1d": [], "7d": []}
    lengths = {"1h": HOUR, "1d": DAY, "7d": 7 * DAY}
    for seed in range(40):
        rng = np.random.default_rng(seed)
        times = START + np.sort(rng.integers(0, 7 * DAY, 3_000))
        who = rng.integers(0, 1_000, 3_000)
        times[-1] = times[-2] + 1
        past = [Payment(f"t{i}", f"{seed}-{who[i]}", int(times[i]), 100, payee="fund") for i in range(3_000)]
        columns, _ = columns_of(past)
        no_flags = np.zeros((len(past), 4), np.uint8)
        activity = of_payments(columns, np.zeros(len(past), np.uint8), no_flags).activity
        (blob,) = advance_entities([None], np.zeros(len(past), np.int64), activity)
        asked, _ = columns_of([Payment("q", "q", int(times[-1]) + 1, 100, payee="fund")])
        features = np.zeros((1, len(NAMES)))
        query_entities([blob], np.array([[-1, -1, -1, 0, -1]]), asked, features)
        for name, length in lengths.items():
            true = len({p.account_id for p in past if p.event_time > times[-1] + 1 - length})
            errors[name].append(of(features, f"payee_live_accounts_{name}")[0] / true - 1)
    assert np.std(errors["1h"]) == 0
    for name in ("1d", "7d"):
        assert np.std(errors[name]) < 0.18, name
        assert abs(np.mean(errors[name])) < 0.06, name


def test_the_state_of_a_popular_entity_is_bounded(
    popular: tuple[list[Payment], NDArray[np.float64], Backfill],
) -> None:
    """Forty thousand payments leave a live state of a few kilobytes, within the numbers that its header allows."""
    _, _, state = popular
    payee = next(blob for entity, blob in state.entities.items() if entity == _hash_of_payee("fund"))
    events, tiles, samples = payee[3], payee[4], payee[5] | payee[6] << 8
    assert events < MOST_EVENTS
    assert 20 < tiles <= MOST_TILES
    assert 64 < samples <= MOST_SAMPLES
    assert len(payee) < 6_000


def _hash_of_payee(name: str) -> int:
    columns, _ = columns_of([Payment("t", "a", START, 1, payee=name)])
    return int(columns.entities[0, 3])


def test_batches_of_a_popular_entity_change_no_bit() -> None:
    """How activity is cut into batches changes no state, tiles and samples included."""
    payments = busy(3_000, 1, 900, 3 * DAY)
    batch, blobs = batch_of(payments), []
    for cut in (3_000, 500, 77):
        state = Backfill()
        for start in range(0, len(payments), cut):
            state.advance(batch.slice(start, cut))
        blobs.append(state.entities)
    assert blobs[0] == blobs[1] == blobs[2]


def test_card_testing_shows_at_once() -> None:
    """The twentieth card tried at a merchant within minutes sees nineteen new accounts and tiny amounts before it."""
    tested = [Payment(f"t{i}", f"a{i}", START + i * 10_000, 100, merchant_id="shop") for i in range(20)]
    features = Backfill().advance(batch_of(tested))
    assert of(features, "merchant_live_new_accounts_10min") == list(range(20))
    assert of(features, "merchant_live_accounts_1h") == list(range(20))
    assert of(features, "merchant_live_small_share_10min")[-1] == 1


def test_a_mule_shows_when_it_pays_on() -> None:
    """Money that came in from many new senders is seen when the account pays, and how much of it goes out."""
    received = [Payment(f"i{i}", f"a{i}", START + i * MINUTE, 10_000, payee="mule") for i in range(5)]
    paid_on = Payment("o", "mule", START + 30 * MINUTE, 40_000, payee="abroad")
    features = Backfill().advance(batch_of([*received, paid_on]))
    assert of(features, "incoming_count_1h")[-1] == 5
    assert of(features, "incoming_new_senders_1h")[-1] == 5
    assert of(features, "incoming_sum_1d")[-1] == 500
    assert of(features, "incoming_passed_on_1h")[-1] == 0.8
    assert of(features, "incoming_seconds_since_last")[-1] == 26 * 60


def test_flagged_shares_are_known_where_the_decisions_are() -> None:
    """Without decisions the share that was flagged is missing; with them it is that of the payments before."""
    payments = [Payment(f"t{i}", f"a{i}", START + i, 100, merchant_id="shop") for i in range(5)]
    batch = batch_of(payments)
    assert np.isnan(of(Backfill().advance(batch), "merchant_live_flagged_share_1h")).all()
    decided = batch.append_column(FLAGGED, pa.array([True, False, False, True, False]))
    assert of(Backfill().advance(decided), "merchant_live_flagged_share_1h") == [0, 1, 0.5, 1 / 3, 0.5]


def test_a_label_before_its_payment_and_a_withdrawn_one() -> None:
    """A fraud known before its payment arrives counts with it, and no longer when the label is withdrawn."""
    payments = [Payment(f"t{i}", f"a{i}", START + i, 100, merchant_id="shop") for i in range(3)]
    asked, _ = columns_of([Payment("q", "q", START + HOUR, 100, merchant_id="shop")])
    blob: bytes | None = None
    frauds = []
    for event in (truth(payments[1], fraud=True), *payments, truth(payments[1], fraud=False)):
        columns, label = columns_of([event])
        flags = np.zeros((1, 4), np.uint8)
        activity = of_payments(columns, np.zeros(1, np.uint8), flags).activity
        activity = type(activity)(**{**vars(activity), "label": label})
        (blob,) = advance_entities([blob], np.zeros(1, np.int64), activity)
        features = np.zeros((1, len(NAMES)))
        query_entities([blob], np.array([[0, -1, -1, -1, -1]]), asked, features)
        frauds.append(of(features, "merchant_live_frauds_1d")[0])
    assert frauds == [0, 0, 1, 1, 0]
    assert of(features, "merchant_live_count_1d") == [3]


def test_signals_travel_whole() -> None:
    """Any signals are the same after a journey as bytes; bytes of anything else are recognised."""
    rng = np.random.default_rng(0)
    signals = rng.integers(0, 1 << 60, (50, SIGNALS)) >> rng.integers(0, 61, (50, SIGNALS))
    signals[::3, : SIGNALS // 5] = ABSENT
    for row, message in zip(signals, encode_signals(signals), strict=True):
        assert np.array_equal(decode_signals(message), row)
        assert decode_signals(message[:-1]) is None
        assert decode_signals(message + b"\0") is None
    assert decode_signals(b"") is None
    empty = np.zeros((1, SIGNALS), np.int64)
    assert len(encode_signals(empty)[0]) < 6


def test_the_live_features_are_last_and_say_so() -> None:
    """Every live feature comes after all others, so that what does not use them keeps its columns and its hash."""
    fresh = [feature.freshness == "live" for feature in CATALOGUE]
    assert [is_live for is_live, _ in itertools.groupby(fresh)] == [False, True]
