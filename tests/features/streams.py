"""Random streams of payments and labels, and how they are run through oracle and kernel."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import get_args

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st
from numpy.typing import NDArray

from features.activity import PAYMENT, Activity, Records, of_labels, of_payments, payment_flags
from features.activity import unusualness as kept_unusualness
from features.catalogue import CATALOGUE, LABEL_DELAY, NAMES, SETTLED
from features.columns import Columns, from_batch
from features.engine import advance_accounts, advance_entities, query_entities, slots
from tests.features.oracle import AccountOracle, EntityOracles, Event, Payment, Truth, unusualness
from vedette.clock import DAY, HOUR, MINUTE
from vedette.events import MAX_AMOUNT, Kind

START = 1_519_000_000_000  # ten days before the end of a February

_COUNTS = {"payments", "0 or 1", "hours", "merchants", "devices", "countries", "payees", "accounts"}
EXACT_NAMES = {feature.name for feature in CATALOGUE if feature.unit in _COUNTS} | {"weekday"}

_SCHEMA = pa.schema(
    {
        "transaction_id": pa.string(),
        "account_id": pa.string(),
        "event_time": pa.int64(),
        "amount": pa.int64(),
        "currency": pa.string(),
        "merchant_id": pa.string(),
        "mcc": pa.string(),
        "device_id": pa.string(),
        "ip_address": pa.string(),
        "country": pa.string(),
        "payee": pa.string(),
        "lat": pa.float64(),
        "lon": pa.float64(),
        "balance": pa.int64(),
        "account_opened_at": pa.int64(),
        "kind": pa.string(),
        "original_id": pa.string(),
    }
)

# Steps and delays that land on the edges of windows, of the horizon and of the label delay, or anywhere.
_EDGES = (0, 1, MINUTE, 10 * MINUTE, HOUR, 6 * HOUR, DAY, 7 * DAY, 30 * DAY, 31 * DAY)
_steps = st.one_of(
    st.sampled_from((0, 0, MINUTE - 1, *_EDGES)), st.integers(0, 2 * MINUTE), st.integers(0, HOUR), st.integers(0, DAY)
)
_delays = st.one_of(st.just(0), st.just(0), st.sampled_from(_EDGES), st.integers(0, 2 * HOUR), st.integers(0, 60 * DAY))
_amounts = st.one_of(st.sampled_from((0, 999, 12_345, MAX_AMOUNT)), st.integers(1, 100_000), st.integers(0, MAX_AMOUNT))
_millionths = st.integers(-90_000_000, 90_000_000)


def _optional(values: Iterable[str]) -> st.SearchStrategy[str | None]:
    return st.sampled_from((None, *values))


@st.composite
def _payment(draw: st.DrawFn, number: int, time: int) -> Payment:
    placed = draw(st.booleans())
    kind = draw(st.sampled_from((None, None, None, *get_args(Kind))))
    names = st.none() | st.integers(0, number + 1).map("t{}".format)
    return Payment(
        transaction_id=f"t{number}",
        account_id=draw(st.sampled_from(("a", "a", "b", "c"))),
        event_time=time,
        amount=draw(_amounts),
        currency=draw(st.sampled_from(("EUR", "EUR", "JPY", "KWD"))),
        merchant_id=draw(_optional(("m1", "m2", "m3"))),
        mcc=draw(_optional(("5411", "5732"))),
        device_id=draw(_optional(("d1", "d2", "m1"))),
        ip_address=draw(_optional(("::1", "m1"))),
        country=draw(_optional(("DE", "FR"))),
        payee=draw(_optional(("p1", "p2"))),
        lat=draw(_millionths) / 1e6 if placed else None,
        lon=2 * draw(_millionths) / 1e6 if placed else None,
        balance=draw(st.one_of(st.none(), st.integers(-100, 100_000), st.just(MAX_AMOUNT))),
        account_opened_at=draw(st.one_of(st.none(), st.integers(0, START))),
        kind=kind,
        original_id=draw(names),
    )


@st.composite
def streams(draw: st.DrawFn, *, ordered: bool = False, largest: int = 40) -> list[Event]:
    """Events in order of arrival: late, tied and repeated ones, labels before and after their payment and corrected."""
    clock = START + draw(st.integers(0, 40 * DAY))
    payments: list[Payment] = []
    for number, step in enumerate(draw(st.lists(_steps, min_size=1, max_size=largest))):
        clock += step
        payments.append(draw(_payment(number, clock - (0 if ordered else draw(_delays)))))
    arrivals: list[tuple[float, Event]] = list(enumerate(payments))
    for index in draw(st.lists(st.integers(0, len(payments) - 1), max_size=largest // 2)):
        p = payments[index]
        kind = draw(st.sampled_from(("repeat", "fraud", "fraud", "genuine")))
        event = p if kind == "repeat" else truth(p, fraud=kind == "fraud")
        arrivals.append((draw(st.integers(-1, len(payments))) + 0.5, event))
    return [event for _, event in sorted(arrivals, key=lambda arrival: arrival[0])]


@dataclass(frozen=True)
class Past:
    """A past payment, and when it became known as a fraud, if it did."""

    payment: Payment
    known_at: int | None


@st.composite
def histories(draw: st.DrawFn) -> list[Past]:
    """Payments in order of time, with labels that become known before and after the end of the label delay."""
    payments = [event for event in draw(streams(ordered=True)) if isinstance(event, Payment)]
    payments.sort(key=lambda p: p.event_time)
    waits = st.one_of(st.none(), st.none(), st.sampled_from(_EDGES), st.integers(0, 60 * DAY))
    delays = [draw(waits) for _ in payments]
    return [Past(p, None if wait is None else p.event_time + wait) for p, wait in zip(payments, delays, strict=True)]


def truth(payment: Payment, *, fraud: bool) -> Truth:
    """Return the label of a payment."""
    p = payment
    return Truth(p.transaction_id, p.account_id, p.event_time, fraud, p.merchant_id, p.device_id, p.ip_address, p.payee)


def batch_of(events: Sequence[Event]) -> pa.RecordBatch:
    """Return an Arrow batch with the names of Transaction; labels have no amount."""
    rows = [{"amount": 0, "currency": "EUR", **asdict(event)} for event in events]
    return pa.RecordBatch.from_pylist([{name: row.get(name) for name in _SCHEMA.names} for row in rows], _SCHEMA)


def batch_of_past(history: Sequence[Past]) -> pa.RecordBatch:
    """Return the same with the columns `fraud` and `labelled_at`."""
    batch = batch_of([past.payment for past in history])
    known_at = pa.array([past.known_at for past in history], pa.int64())
    return batch.append_column("fraud", known_at.is_valid()).append_column("labelled_at", known_at)


def columns_of(events: Sequence[Event]) -> tuple[Columns, NDArray[np.int8]]:
    """Return the kernel's columns, and its label array."""
    labels = [int(event.fraud) if isinstance(event, Truth) else PAYMENT for event in events]
    return from_batch(batch_of(events)), np.array(labels, np.int8)


@dataclass
class Result:
    """The output of a stream."""

    features: NDArray[np.float64]
    """One row per payment."""
    accounts: dict[str, bytes]
    entities: dict[int, bytes]

    def of(self, name: str) -> list[float]:
        """Return one feature of all payments."""
        values: list[float] = self.features[:, NAMES.index(name)].tolist()
        return values

    def same_bits(self, other: "Result") -> bool:
        """Whether two results are equal in every bit."""
        mine, others = self.features.view(np.int64), other.features.view(np.int64)
        same_state = self.accounts == other.accounts and self.entities == other.entities
        return same_state and np.array_equal(mine, others)


def through_kernel(events: Sequence[Event], cut: int) -> Result:
    """Advance accounts and entities in batches of `cut` events; entity features are queried at the end."""
    result = Result(np.empty((0, len(NAMES))), {}, {})
    parts = [result.features]
    for start in range(0, len(events), cut):
        part = events[start : start + cut]
        columns, label = columns_of(part)
        accounts, slot = slots([event.account_id for event in part])
        advanced = advance_accounts([result.accounts.get(a) for a in accounts], slot, columns, label)
        result.accounts.update(zip(accounts, advanced.blobs, strict=True))
        parts.append(advanced.features[label == PAYMENT])
        flags = payment_flags(advanced.features, advanced.new)
        made = of_payments(columns, kept_unusualness(advanced.features), flags)
        activity = _both(made, of_labels(columns, label), label)
        row, _ = np.nonzero(columns.entities)
        activity = _some(activity, (label[row] != PAYMENT) | advanced.pays[row])
        entities, slot = slots(activity.entity)
        new = advance_entities([result.entities.get(e) for e in entities], slot, activity)
        result.entities.update(zip(entities, new, strict=True))
    result.features = np.concatenate(parts)
    ask([event for event in events if isinstance(event, Payment)], result.entities, result.features)
    return result


def ask(payments: Sequence[Payment], entities: dict[int, bytes], features: NDArray[np.float64]) -> None:
    """Fill the entity features of payments, float64[n, features]."""
    columns, _ = columns_of(payments)
    hashes = np.column_stack([columns.entities, columns.recipient])
    names, slot = slots(hashes.ravel())
    slots_of = np.where(hashes == 0, -1, slot.reshape(hashes.shape))
    query_entities([entities.get(e) for e in names], slots_of, columns, features)


def _both(payments: Records, labels: Records, label: NDArray[np.int8]) -> Activity:
    """Return payments and labels of one batch, each row as what it is."""
    is_payment = label[payments.row] == PAYMENT
    pairs = zip(vars(payments.activity).items(), vars(labels.activity).values(), strict=True)
    return Activity(**{name: np.where(is_payment, mine, others) for (name, mine), others in pairs})


def _some(activity: Activity, which: NDArray[np.bool_]) -> Activity:
    return Activity(**{name: array[which] for name, array in vars(activity).items()})


def through_oracle(events: Sequence[Event]) -> list[dict[str, float]]:
    """Run the same through the oracle."""
    accounts: dict[str, AccountOracle] = {}
    entities = EntityOracles()
    rows: list[dict[str, float]] = []
    for event in events:
        account = accounts.setdefault(event.account_id, AccountOracle())
        if isinstance(event, Truth):
            account.label(event)
            entities.label(event)
        else:
            rows.append(account.pay(event))
            if account.paid(event):
                entities.pay(event, unusualness(rows[-1]))
    for row, payment in zip(rows, [e for e in events if isinstance(e, Payment)], strict=True):
        row.update(entities.query(payment))
    return rows


def past_through_oracle(history: Sequence[Past], delay: int = LABEL_DELAY) -> list[dict[str, float]]:
    """Return what a backfill gives: a label is shown with its payment or, if known only after the delay, then."""
    accounts = {past.payment.account_id: AccountOracle(delay) for past in history}
    entities = EntityOracles(delay)
    rows: list[dict[str, float]] = []
    late: list[tuple[int, Truth]] = []

    def show(label: Truth) -> None:
        accounts[label.account_id].label(label)
        entities.label(label)

    for past in history:
        p = past.payment
        for known_at, label in late:
            if known_at <= p.event_time:
                show(label)
        late = [(known_at, label) for known_at, label in late if known_at > p.event_time]
        rows.append(accounts[p.account_id].pay(p))
        rows[-1] |= entities.query(p)
        if accounts[p.account_id].paid(p):
            entities.pay(p, unusualness(rows[-1]))
        if past.known_at is not None and past.known_at <= p.event_time + delay:
            show(truth(p, fraud=True))
        elif past.known_at is not None:
            late.append((past.known_at, truth(p, fraud=True)))
    return rows


def assert_agree(features: NDArray[np.float64], expected: Sequence[dict[str, float]]) -> None:
    """Counts agree exactly, all else to a relative 1e-9, and places to a metre."""
    assert len(features) == len(expected)
    for i, row in enumerate(expected):
        assert set(row) == set(SETTLED)
        for name, is_ in zip(SETTLED, features[i].tolist(), strict=False):
            relative, absolute = (0.0, 0.0) if name in EXACT_NAMES else (1e-9, 0.0)
            if name == "amount_deviation_30d":
                absolute = 1e-9  # a difference: digits cancel where the amount is close to the mean
            elif name == "distance_km":
                absolute = 1e-3
            elif name == "speed_kmh":
                absolute = 1e-3 * HOUR / 1000
            np.testing.assert_allclose(is_, row[name], relative, absolute, err_msg=f"{name} of payment {i}")
