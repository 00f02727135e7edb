"""What every feature means, computed the slow and obvious way from plain lists.

An oracle is shown events in the order in which they arrive. It knows nothing of arrays, tiles, blobs or batches, so
where it and the kernel agree, the kernel does what the catalogue says. What the catalogue leaves open is settled here:

- A repeated payment (same account, time and id) counts once. It stands where its first delivery stood: of the payments
  at its very time it sees those that had arrived before that delivery.
- An account is remembered back to 31 days before its newest payment, a merchant, device or address as far as the
  kernel's HORIZON. What is older is forgotten at once: it can be neither counted in a window, nor recognised as
  repeated, nor relabelled.
- Of a forgotten fraud only the account's number of frauds remains. A label that comes later than that adds to it if
  it says fraud, and changes nothing if it does not.
- The last label of a payment holds, whether it came before or after the payment.
- Money that comes back leaves sums and totals, and nothing else: a payment stays counted, with its first amount. What
  names a payment that is remembered changes that payment, from its arrival on; of several payments with that id, the
  last one. A refund that names none, or none that is remembered, stands at its own time. No sum falls below zero.
- The first completion of a payment replaces its amount; every other adds to it. Beyond what was paid, the payment
  grows. A completion that names no remembered payment is a payment.
- The features of a refund, reversal or deposit are those of a payment of its amount; if it is repeated, only those
  that need no history.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from features.catalogue import ACCOUNT_WINDOWS, DELAYED, ENTITIES, ENTITY_WINDOWS, SETTLED
from features.kernel_account import HORIZON as ACCOUNT_HORIZON
from features.kernel_delayed import BEYOND_DELAY
from vedette.clock import DAY, HOUR
from vedette.money import exponent

NAN = math.nan
DELAY = 7 * DAY
MONTH = 30 * DAY


@dataclass(frozen=True)
class Payment:
    """A transaction, by the names of vedette.events.Transaction."""

    transaction_id: str
    account_id: str
    event_time: int
    amount: int
    currency: str = "EUR"
    merchant_id: str | None = None
    mcc: str | None = None
    device_id: str | None = None
    ip_address: str | None = None
    country: str | None = None
    payee: str | None = None
    lat: float | None = None
    lon: float | None = None
    balance: int | None = None
    account_opened_at: int | None = None
    kind: str | None = None
    original_id: str | None = None


@dataclass
class Standing:
    """What became of an event: of a payment its amount, and how much was returned; of others what they return."""

    event: Payment
    pays: bool
    amount: int
    back: int = 0
    completed: bool = False

    @property
    def net(self) -> int:
        """What it adds to sums and totals."""
        return self.amount - self.back

    def as_paid(self) -> Payment:
        """The payment with its present amount."""
        return replace(self.event, amount=self.amount)


@dataclass(frozen=True)
class Truth:
    """A label: what is known about the payment with this id and time."""

    transaction_id: str
    account_id: str
    event_time: int
    fraud: bool
    merchant_id: str | None = None
    device_id: str | None = None
    ip_address: str | None = None
    payee: str | None = None


Event = Payment | Truth


def _same(a: Event, b: Event) -> bool:
    return (a.event_time, a.transaction_id) == (b.event_time, b.transaction_id)


class _Memory:
    """The events shown so far, in order of arrival, and which of them are remembered."""

    def __init__(self, horizon: int) -> None:
        self.payments: list[Payment] = []
        self.labels: list[Truth] = []
        self._horizon = horizon

    def edge(self) -> int:
        """Everything that happened then or before is forgotten."""
        newest = max((p.event_time for p in self.payments), default=None)
        return -1 if newest is None else newest - self._horizon

    def forget(self) -> list[Truth]:
        """Forget what is too old, including its labels."""
        edge = self.edge()
        gone = [label for label in self.labels if label.event_time <= edge]
        self.payments = [p for p in self.payments if p.event_time > edge]
        self.labels = [label for label in self.labels if label.event_time > edge]
        return gone

    def first_delivery(self, payment: Payment) -> int | None:
        """Where among the payments the first delivery came."""
        return next((i for i, p in enumerate(self.payments) if _same(p, payment)), None)

    def relabel(self, label: Truth) -> None:
        """Let a label replace an earlier one."""
        self.labels = [other for other in self.labels if not _same(other, label)] + [label]


class AccountOracle:
    """One account."""

    def __init__(self, delay: int = DELAY) -> None:
        self._delay = delay
        self._memory = _Memory(ACCOUNT_HORIZON)
        self._standing: dict[tuple[int, str], Standing] = {}
        self._ever: list[Standing] = []
        self._forgotten_frauds = 0
        self._place: Payment | None = None
        self._typical = 0.0  # minor units

    def label(self, label: Truth) -> None:
        """Show a label."""
        if label.event_time <= self._memory.edge():
            self._forgotten_frauds += label.fraud
        else:
            self._memory.relabel(label)

    def pay(self, e: Payment) -> dict[str, float]:
        """Show an event and return its features."""
        features = self.features(e)
        self.show(e)
        return features

    def paid(self, e: Payment) -> bool:
        """Whether an event that was shown is a payment."""
        return self._standing[e.event_time, e.transaction_id].pays

    def show(self, e: Payment) -> None:
        """Show an event without asking for its features."""
        if self._memory.first_delivery(e) is None:
            named = self._named(e)
            self._memory.payments.append(e)
            shown = self._settle(e, named)
            self._standing[e.event_time, e.transaction_id] = shown
            if shown.pays:
                self._ever.append(shown)
                typical, k = self._typical, len(self._ever)
                counted = float(e.amount) if k <= 3 else min(float(e.amount), 3.0 * typical)
                self._typical += (counted - typical) / min(k, 200)
                if self._moves_place(e):
                    self._place = e
        self._forgotten_frauds += sum(label.fraud for label in self._memory.forget())

    def _named(self, e: Payment) -> Standing | None:
        """Return the remembered payment that an event names."""
        named = [self._standing[p.event_time, p.transaction_id] for p in self._memory.payments
                 if p.transaction_id == e.original_id]  # fmt: skip
        paid = sorted((s for s in named if s.pays), key=lambda s: s.event.event_time)
        return paid[-1] if paid else None

    @staticmethod
    def _settle(e: Payment, named: Standing | None) -> Standing:
        match e.kind:
            case None | "payment" | "withdrawal" | "authorisation":
                return Standing(e, pays=True, amount=e.amount)
            case "completion" if named is None:
                return Standing(e, pays=True, amount=e.amount)
            case "completion" if named is not None:
                final = e.amount + (named.net if named.completed else 0)
                named.amount, named.completed = max(named.amount, final), True
                named.back = named.amount - final
            case "refund" if named is None:
                return Standing(e, pays=False, amount=0, back=e.amount)
            case "refund" | "reversal" if named is not None:
                named.back = min(named.amount, named.back + e.amount)
        return Standing(e, pays=False, amount=0)

    def features(self, e: Payment) -> dict[str, float]:
        """Return the features that an event would have if it were shown now."""
        memory, t = self._memory, e.event_time
        first = memory.first_delivery(e)
        stands = [self._standing[p.event_time, p.transaction_id] for p in memory.payments]
        mine = Standing(e, pays=True, amount=e.amount) if first is None else stands[first]
        if not mine.pays:
            return _of_payment(e) | dict.fromkeys(_OF_HISTORY, NAN)
        before = [s for s in stands if s.event.event_time < t]
        ties = [s for s in stands[:first] if s.event.event_time == t]
        later = [s for s in stands if s.event.event_time > t]
        if first is not None:
            later += [s for s in stands[first + 1 :] if s.event.event_time == t]
        returned, e = [*before, *ties, mine], mine.as_paid()
        seen = [s.as_paid() for s in [*before, *ties] if s.pays]
        later = [s for s in later if s.pays]
        ever = self._ever if first is not None else [*self._ever, mine]
        amounts_up_to_now = sum(s.amount for s in ever) - sum(s.amount for s in later)
        month = [p for p in seen if p.event_time > t - MONTH]
        frauds = [label for label in memory.labels if label.fraud and label.event_time <= t - self._delay]
        return {
            **_of_payment(mine.event),
            **_of_windows(e, seen),
            **_of_sums(e, returned),
            **_of_amount(e, month),
            **self._of_typical(e, month),
            **_of_time(e, month),
            **_of_familiarity(e, month),
            **_of_distinct(e, seen),
            **_of_drain(mine.event, returned),
            "day_to_limit": NAN,  # of limits the kernel knows nothing: see test_limits
            "month_to_limit": NAN,
            **self._of_place(e, repeated=first is not None),
            "account_lifetime_count": len(ever) - len(later),
            "account_mean_lifetime": _major(Fraction(amounts_up_to_now, len(ever) - len(later)), e),
            "account_frauds": len(frauds) + self._forgotten_frauds,
        }

    def _of_typical(self, e: Payment, month: Sequence[Payment]) -> dict[str, float]:
        typical = self._typical or NAN
        lately = [p for p in month if p.event_time > e.event_time - 14 * DAY]
        unusual = [p.event_time for p in lately if p.amount > 3.0 * typical]
        return {
            "account_typical": typical / 10 ** exponent(e.currency),
            "amount_to_typical": e.amount / typical,
            "largest_to_typical_14d": max((p.amount for p in lately), default=0) / typical,
            "unusual_count_7d": len([u for u in unusual if u > e.event_time - 7 * DAY]),
            "unusual_count_14d": len(unusual),
        }

    def _moves_place(self, e: Payment) -> bool:
        known = e.lat is not None and e.lon is not None
        return known and (self._place is None or e.event_time >= self._place.event_time)

    def _of_place(self, e: Payment, *, repeated: bool) -> dict[str, float]:
        last = self._place
        if last is None or repeated or not self._moves_place(e):
            return {"distance_km": NAN, "speed_kmh": NAN}
        km = _great_circle(last, e)
        return {"distance_km": km, "speed_kmh": km / (max(e.event_time - last.event_time, 1000) / HOUR)}


class EntityOracle:
    """One merchant, device or address."""

    def __init__(self, delay: int = DELAY) -> None:
        self._delay = delay
        self._memory = _Memory(BEYOND_DELAY + delay)
        self._unusual: dict[tuple[int, str], float] = {}

    def label(self, label: Truth) -> None:
        """Show a label."""
        if label.event_time > self._memory.edge():
            self._memory.relabel(label)

    def pay(self, payment: Payment, unusual: float = 1.0) -> None:
        """Show a payment, and how unusual it was for its account."""
        if self._memory.first_delivery(payment) is None:
            self._memory.payments.append(payment)
            self._unusual[payment.event_time, payment.transaction_id] = unusual
        self._memory.forget()

    def query(self, kind: str, e: Payment) -> dict[str, float]:
        """Return the features of a payment for an entity of this kind."""
        features: dict[str, float] = {}
        end = e.event_time - self._delay
        for name, w in ENTITY_WINDOWS.items():
            window = [p for p in self._memory.payments if end - w < p.event_time <= end]
            frauds = [p for p in window if any(label.fraud and _same(label, p) for label in self._memory.labels)]
            features[f"{kind}_count_{name}"] = len(window)
            features[f"{kind}_fraud_rate_{name}"] = len(frauds) / len(window) if window else 0.0
        if kind != "merchant":
            return features | {f"{kind}_accounts_30d": len({p.account_id for p in window})}
        honest = max((p.event_time for p in window if p not in frauds), default=None)
        run = [p for p in frauds if honest is None or p.event_time > honest]
        unusual = [self._unusual[p.event_time, p.transaction_id] for p in run]
        return features | {
            "merchant_fraud_run": len(run),
            "merchant_fraud_run_days": _midnights(min(p.event_time for p in run), e) if run else NAN,
            "merchant_honest_days": NAN if honest is None else _midnights(honest, e),
            "merchant_run_unusual": min(unusual) if run else NAN,
            "merchant_run_amount": _major(Fraction(min(p.amount for p in run)), e) if run else NAN,
        }


def _midnights(t: int, e: Payment) -> int:
    day, today = (datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=u) for u in (t, e.event_time))
    return (today.date() - day.date()).days


def unusualness(features: dict[str, float]) -> float:
    """How unusual a payment was for its account, as merchants remember it: in sixteenths, at most 255 of them."""
    larger = max(features["amount_to_typical"], features["largest_to_typical_14d"])
    return min(255, round(16 * (1.0 if math.isnan(larger) else min(larger, 16.0)))) / 16


class EntityOracles:
    """All merchants, devices and addresses."""

    def __init__(self, delay: int = DELAY) -> None:
        self._delay = delay
        self._of: dict[tuple[str, str], EntityOracle] = {}

    def _named(self, event: Event) -> list[EntityOracle]:
        named = [(kind, getattr(event, ENTITIES[kind])) for kind in DELAYED]
        return [
            self._of.setdefault((kind, name), EntityOracle(self._delay)) for kind, name in named if name is not None
        ]

    def label(self, label: Truth) -> None:
        """Show a label to the entities that it names."""
        for entity in self._named(label):
            entity.label(label)

    def pay(self, payment: Payment, unusual: float) -> None:
        """Show a payment to the entities that it names."""
        for entity in self._named(payment):
            entity.pay(payment, unusual)

    def query(self, payment: Payment) -> dict[str, float]:
        """Return the entity features of a payment; those of missing entities are NaN."""
        features: dict[str, float] = {}
        for kind in DELAYED:
            name = getattr(payment, ENTITIES[kind])
            entity = (
                EntityOracle(self._delay) if name is None else self._of.get((kind, name), EntityOracle(self._delay))
            )
            of_kind = entity.query(kind, payment)
            features |= dict.fromkeys(of_kind, NAN) if name is None else of_kind
        return features


_OF_HISTORY = tuple(
    name
    for name in SETTLED
    if not name.startswith(tuple(f"{kind}_" for kind in ENTITIES))
    and name
    not in {"amount_major", "hour", "weekday", "is_night", "is_weekend", "amount_to_balance", "account_age_days"}
)
"""Features of accounts that need history."""


def _major(minor: Fraction, e: Payment) -> float:
    return float(minor / 10 ** exponent(e.currency))


def _of_payment(e: Payment) -> dict[str, float]:
    moment = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=e.event_time)
    solvent = e.balance is not None and e.balance > 0
    return {
        "amount_major": _major(Fraction(e.amount), e),
        "hour": moment.hour,
        "weekday": moment.weekday(),
        "is_night": float(moment.hour <= 6),
        "is_weekend": float(moment.weekday() in {5, 6}),
        "amount_to_balance": float(Fraction(e.amount, e.balance)) if solvent else NAN,
        "account_age_days": NAN if e.account_opened_at is None else (e.event_time - e.account_opened_at) / DAY,
    }


def _of_windows(e: Payment, seen: Sequence[Payment]) -> dict[str, float]:
    features: dict[str, float] = {}
    for name, w in ACCOUNT_WINDOWS.items():
        amounts = [p.amount for p in [*seen, e] if p.event_time > e.event_time - w]
        features[f"account_count_{name}"] = len(amounts)
        features[f"account_mean_{name}"] = _major(Fraction(sum(amounts), len(amounts)), e)
        features[f"account_max_{name}"] = _major(Fraction(max(amounts)), e)
        features[f"account_std_{name}"] = math.sqrt(_variance(amounts)) / 10 ** exponent(e.currency)
    return features


def _variance(amounts: Sequence[int]) -> Fraction:
    return statistics.pvariance([Fraction(amount) for amount in amounts])


def _of_amount(e: Payment, earlier: Sequence[Payment]) -> dict[str, float]:
    amounts = [p.amount for p in earlier]
    to_mean = to_max = deviation = rank = NAN
    if amounts:
        mean = Fraction(sum(amounts), len(amounts))
        to_mean = float(e.amount / mean) if mean else NAN
        to_max = e.amount / max(amounts) if max(amounts) else NAN
        rank = len([x for x in amounts if x < e.amount]) / len(amounts)
        if variance := _variance(amounts):
            deviation = float(e.amount - mean) / math.sqrt(variance)
    return {
        "amount_to_mean_30d": to_mean,
        "amount_to_max_30d": to_max,
        "amount_deviation_30d": deviation,
        "amount_rank_30d": rank,
    }


def _of_time(e: Payment, earlier: Sequence[Payment]) -> dict[str, float]:
    t = e.event_time
    times = sorted(p.event_time for p in earlier)
    since = gap = habit = NAN
    if times:
        since = (t - times[-1]) / 1000
        distances = [abs(u % DAY - t % DAY) for u in times]
        habit = len([d for d in distances if min(d, DAY - d) <= HOUR]) / len(times)
        if times[-1] > times[0]:
            gap = float((t - times[-1]) / Fraction(times[-1] - times[0], len(times) - 1))
    last_hour = [u for u in [*times, t] if u > t - HOUR]
    return {
        "seconds_since_last": since,
        "gap_to_mean_30d": gap,
        "burst_1h": len(last_hour) / (len([*times, t]) / (MONTH / HOUR)),
        "hour_habit_30d": habit,
        "hour_of_week_count_30d": len([u for u in times if _hour_of_week(u) == _hour_of_week(t)]),
    }


def _hour_of_week(t: int) -> tuple[int, int]:
    moment = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=t)
    return moment.weekday(), moment.hour


def _of_familiarity(e: Payment, earlier: Sequence[Payment]) -> dict[str, float]:
    kinds: dict[str, Callable[[Payment], str | None]] = {
        "merchant": lambda p: p.merchant_id,
        "category": lambda p: p.mcc,
        "device": lambda p: p.device_id,
        "country": lambda p: p.country,
        "payee": lambda p: p.payee,
    }
    features: dict[str, float] = {}
    for name, of in kinds.items():
        used = len([p for p in earlier if of(p) == of(e)])
        known = of(e) is not None
        features[f"used_{name}_30d"] = used if known else NAN
        features[f"is_new_{name}"] = float(used == 0) if known and earlier else NAN
    return features


def _of_distinct(e: Payment, seen: Sequence[Payment]) -> dict[str, float]:
    week = [p for p in [*seen, e] if p.event_time > e.event_time - 7 * DAY]
    day = [p for p in week if p.event_time > e.event_time - DAY]
    return {
        "distinct_merchants_1d": len({p.merchant_id for p in day} - {None}),
        "distinct_merchants_7d": len({p.merchant_id for p in week} - {None}),
        "distinct_devices_7d": len({p.device_id for p in week} - {None}),
        "distinct_countries_7d": len({p.country for p in week} - {None}),
        "distinct_payees_7d": len({p.payee for p in week} - {None}),
    }


def _of_sums(e: Payment, returned: Sequence[Standing]) -> dict[str, float]:
    """Return sums and totals of what was paid and not returned, this payment included."""

    def date(t: int) -> datetime:
        return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=t)

    def total(inside: Callable[[int], bool]) -> float:
        return _major(Fraction(max(0, sum(s.net for s in returned if inside(s.event.event_time)))), e)

    now = date(e.event_time)
    sums = {
        f"account_sum_{name}": total(lambda t, w=w: t > e.event_time - w)  # type: ignore[misc]
        for name, w in ACCOUNT_WINDOWS.items()
    }
    return sums | {
        "day_total": total(lambda t: date(t).date() == now.date()),
        "month_total": total(lambda t: (date(t).year, date(t).month) == (now.year, now.month)),
    }


def _of_drain(e: Payment, returned: Sequence[Standing]) -> dict[str, float]:
    spent = max(0, sum(s.net for s in returned if s.event.event_time > e.event_time - DAY))
    drain = NAN
    if e.balance is not None and e.balance > 0 and e.balance + spent - e.amount > 0:
        drain = float(Fraction(spent, e.balance + spent - e.amount))
    return {"drain_1d": drain}


def _great_circle(a: Payment, b: Payment) -> float:
    """Return the distance by the angle between two unit vectors, in a form exact for near and opposite places."""

    def vector(p: Payment) -> tuple[float, float, float]:
        # Places are known to a millionth of a degree.
        lat, lon = math.radians(round(p.lat or 0.0, 6)), math.radians(round(p.lon or 0.0, 6))
        return math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat)

    u, v = vector(a), vector(b)
    cross = (u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0])
    return 6371.0088 * math.atan2(math.hypot(*cross), sum(x * y for x, y in zip(u, v, strict=True)))
