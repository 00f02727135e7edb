"""Totals of accounts per day, counted once per decision, for the chart of their last days."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta
from sqlalchemy import Connection, func, select, update

from adapters.database import insert_into, insert_new
from adapters.kafka_consumer import KafkaMessage
from alerts.notify.chart import DailyTotal, draw
from alerts.tables import account_days, positions
from vedette.clock import DAY
from vedette.events import LONGEST_ID, MAX_TIME, Amount, Currency
from vedette.reading import UNREADABLE

SHOWN = 14
"""Number of days in the chart."""


class _CountedDecision(msgspec.Struct, frozen=True):
    """The fields of a decision that are counted.

    A payment may have several decisions, of which one counts: the final decision on a challenged payment names its
    challenge, and a decision without history is marked as degraded, since another one follows.
    """

    account_id: Annotated[str, Meta(min_length=1, max_length=LONGEST_ID, pattern=r"^[^\x00]*$")]
    event_time: Annotated[int, Meta(ge=0, le=MAX_TIME)]
    amount: Amount
    currency: Currency
    action: str
    follows: str | None = None
    degraded: bool = False


_DECODER = msgspec.json.Decoder(_CountedDecision)


def count(connection: Connection, records: Sequence[KafkaMessage]) -> None:
    """Add decisions to the days of their accounts; those counted before, by their place on the topic, are left out."""
    table = positions.c
    done = {
        (row.topic, row.partition): row.next
        for row in connection.execute(select(table.topic, table.partition, table.next))
    }
    days: defaultdict[tuple[str, int, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    reached: dict[tuple[str, int], int] = {}
    for record in records:
        place = record.topic, record.partition
        if record.offset < max(done.get(place, 0), reached.get(place, 0)):
            continue
        reached[place] = record.offset + 1
        try:
            decided = _DECODER.decode(record.value or b"")
        except UNREADABLE:
            continue  # the archive reports unreadable decisions; the chart only misses them
        if decided.follows is None and not decided.degraded:
            sums = days[decided.account_id, decided.event_time // DAY, decided.currency]
            sums[0] += 1
            sums[1] += decided.amount
            sums[2] += decided.amount if decided.action != "approve" else 0
    if days:
        _add(connection, days)
    for (topic, partition), following in reached.items():
        row = {"topic": topic, "partition": partition, "next": following}
        if not insert_new(connection, positions, [row]):
            counted = (table.topic == topic, table.partition == partition)
            connection.execute(update(positions).where(*counted).values(next=following))


def _add(connection: Connection, days: dict[tuple[str, int, str], list[int]]) -> None:
    """Insert days, or add to existing ones."""
    rows = [
        {"account_id": account, "day": day, "currency": currency, "payments": payments, "amount": amount,
         "flagged": flagged}
        for (account, day, currency), (payments, amount, flagged) in days.items()
    ]  # fmt: skip
    statement = insert_into(connection, account_days)
    table, new = account_days.c, statement.excluded
    sums = {name: table[name] + new[name] for name in ("payments", "amount", "flagged")}
    key = [table.account_id, table.day, table.currency]
    connection.execute(statement.on_conflict_do_update(index_elements=key, set_=sums), rows)


def chart(connection: Connection, account: str, now: int) -> bytes:
    """Return the account's last days as PNG, in the currency it uses most; empty if nothing is known."""
    table, today = account_days.c, now // DAY
    query = select(table.day, table.currency, table.payments, table.amount, table.flagged).where(
        table.account_id == account, table.day > today - SHOWN, table.day <= today
    )
    rows = connection.execute(query).all()
    if not rows:
        return b""
    used: defaultdict[str, int] = defaultdict(int)
    for row in rows:
        used[row.currency] += row.payments
    main = max(used, key=lambda currency: (used[currency], currency))
    days = {row.day: DailyTotal(row.amount, row.flagged) for row in rows if row.currency == main}
    return draw([days.get(day, DailyTotal(0, 0)) for day in range(today - SHOWN + 1, today + 1)])


def forget(connection: Connection) -> None:
    """Delete days that no chart shows any more. The newest counted day is today, so a replayed year works as well."""
    newest = select(func.max(account_days.c.day)).scalar_subquery()
    connection.execute(account_days.delete().where(account_days.c.day <= newest - SHOWN))
