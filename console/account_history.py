"""What the archive says about payments: the days, the habit, and since when each device, payee and place is known."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from statistics import median
from typing import Any

import msgspec

KINDS = ("payee", "merchant", "device", "ip", "country", "channel")
"""Kinds of what a payment involves."""

SEARCHED = ("payee", "merchant", "device", "ip")
"""Those of them that the archive is searched by."""

_COLUMNS = {
    "payee": "payee", "merchant": "merchant_id", "device": "device_id", "ip": "ip_address", "country": "country",
    "channel": "channel", "account": "account_id",
}  # fmt: skip

Payment = Mapping[str, Any]
"""A row of `payments`, see archive/payments.sql."""


class Involved(msgspec.Struct, frozen=True, kw_only=True):
    """A device, payee or place of an incident.

    Attributes:
        first_seen: When the account first paid with it, as far as is known; ms since 1970 UTC.
        before: Payments of the account with it before the incident.
        within: Payments of the incident with it.
        frauds: Payments of the account with it that are labelled as fraud.
    """

    kind: str
    value: str
    first_seen: int
    before: int
    within: int
    frauds: int


class Habit(msgspec.Struct, frozen=True, kw_only=True):
    """What the account usually pays, without the payments of the incident.

    Attributes:
        payments: Number of payments.
        typical: Median amount, minor units of the currency.
        largest: Largest amount.
        per_week: Payments a week.
    """

    payments: int
    typical: int
    largest: int
    currency: str
    per_week: float


class Day(msgspec.Struct, frozen=True):
    """Payments of a UTC day."""

    day: date
    payments: int
    amount: int
    flagged: int


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over payments.

    Attributes:
        amounts: Amount by currency, minor units.
        flagged: Number that was not approved.
        frauds: Number labelled as fraud; `labelled`: number with a label.
        neighbours: By kind, the values that occur most often, with their number of payments.
    """

    payments: int
    amounts: dict[str, int]
    flagged: int
    frauds: int
    labelled: int
    first: int | None
    last: int | None
    neighbours: dict[str, list[tuple[str, int]]]


def involved(payments: Sequence[Payment], alerted: Sequence[Payment]) -> list[Involved]:
    """Return what the payments of an incident involve, the newest to the account first.

    Args:
        payments: Payments of the account, in any order.
        alerted: The payments of the incident, which may be among them.
    """
    ids = {row["transaction_id"] for row in alerted}
    found = []
    for kind in KINDS:
        column = _COLUMNS[kind]
        for value, within in Counter(row[column] for row in alerted if row[column]).items():
            same = [row for row in payments if row[column] == value]
            times = [_ms(row["event_time"]) for row in [*same, *(r for r in alerted if r[column] == value)]]
            found.append(
                Involved(
                    kind=kind,
                    value=value,
                    first_seen=min(times),
                    before=sum(row["transaction_id"] not in ids for row in same),
                    within=within,
                    frauds=sum(row["fraud"] is True for row in same),
                )
            )
    return sorted(found, key=lambda each: (each.before, KINDS.index(each.kind), each.value))


def habit(payments: Sequence[Payment], alerted: Sequence[Payment]) -> Habit | None:
    """Return the habit in the currency that the account pays in most; None without earlier payments."""
    ids = {row["transaction_id"] for row in alerted}
    others = [row for row in payments if row["transaction_id"] not in ids]
    if not others:
        return None
    currency, _ = Counter(row["currency"] for row in others).most_common(1)[0]
    same = [row for row in others if row["currency"] == currency]
    times = [_ms(row["event_time"]) for row in same]
    weeks = max((max(times) - min(times)) / (7 * 86_400_000), 1.0)
    amounts = [row["amount"] for row in same]
    return Habit(
        payments=len(same),
        typical=int(median(amounts)),
        largest=max(amounts),
        currency=currency,
        per_week=len(same) / weeks,
    )


def days(payments: Sequence[Payment], until: int, count: int = 30) -> list[Day]:
    """Return each of the last days until a time, the oldest first."""
    last = datetime.fromtimestamp(until / 1000, UTC).date()
    wanted = [last - timedelta(days=back) for back in reversed(range(count))]
    rows: dict[date, list[Payment]] = {day: [] for day in wanted}
    for row in payments:
        day = datetime.fromtimestamp(_ms(row["event_time"]) / 1000, UTC).date()
        if day in rows:
            rows[day].append(row)
    return [
        Day(day, len(found), sum(row["amount"] for row in found), sum(_flagged(row) for row in found))
        for day, found in rows.items()
    ]


def last_days(payments: Sequence[Payment]) -> list[Day]:
    """Return each of the 30 days until the last payment; none without payments."""
    return days(payments, max(_ms(row["event_time"]) for row in payments)) if payments else []


def totals(payments: Sequence[Payment], without: str = "") -> Totals:
    """Return the sums over payments; neighbours of all kinds but one."""
    amounts: Counter[str] = Counter()
    for row in payments:
        amounts[row["currency"]] += row["amount"]
    times = [_ms(row["event_time"]) for row in payments]
    kinds = [kind for kind in ("account", *SEARCHED) if kind != without]
    counted = {kind: Counter(row[_COLUMNS[kind]] for row in payments if row[_COLUMNS[kind]]) for kind in kinds}
    return Totals(
        payments=len(payments),
        amounts=dict(amounts.most_common()),
        flagged=sum(_flagged(row) for row in payments),
        frauds=sum(row["fraud"] is True for row in payments),
        labelled=sum(row["fraud"] is not None for row in payments),
        first=min(times, default=None),
        last=max(times, default=None),
        neighbours={kind: counter.most_common(6) for kind, counter in counted.items() if counter},
    )


def _flagged(row: Payment) -> bool:
    return row["action"] not in (None, "approve")


def _ms(value: datetime | int) -> int:
    return value if isinstance(value, int) else round(value.timestamp() * 1000)
