"""What accounts paid day by day, counted from the decisions, each once; for the picture of their last days."""

from collections import defaultdict
from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, func, select, update

from alerts.database import insert_into, insert_new
from alerts.database.tables import account_days, positions
from alerts.notify.picture import Day, draw
from alerts.notify.source import Record
from vedette.clock import DAY

SHOWN = 14
"""How many days the picture has."""


class _Decided(msgspec.Struct, frozen=True):
    """What is counted of a decision.

    A payment may have more than one, and one alone counts: the final decision about a challenged payment says what it
    follows, and a decision without history says that it is degraded, as another will come.
    """

    account_id: str
    event_time: int
    amount: int
    currency: str
    action: str
    follows: str | None = None
    degraded: bool = False


_DECODER = msgspec.json.Decoder(_Decided)


def count(connection: Connection, records: Sequence[Record]) -> None:
    """Add decisions to their accounts' days; what was counted before, by its place on the topic, is left out."""
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
        except msgspec.DecodeError:
            continue  # a picture is no place to complain about another's message
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
            mine = (table.topic == topic, table.partition == partition)
            connection.execute(update(positions).where(*mine).values(next=following))


def _add(connection: Connection, days: dict[tuple[str, int, str], list[int]]) -> None:
    """Insert days, or add to those that are there."""
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


def picture(connection: Connection, account: str, now: int) -> bytes:
    """The account's last days as PNG, in the currency it uses most; nothing where nothing is known."""
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
    days = {row.day: Day(row.amount, row.flagged) for row in rows if row.currency == main}
    return draw([days.get(day, Day(0, 0)) for day in range(today - SHOWN + 1, today + 1)])


def forget(connection: Connection) -> None:
    """Drop days that no picture shows any more. The newest day counted is today: a replayed year has its own."""
    newest = select(func.max(account_days.c.day)).scalar_subquery()
    connection.execute(account_days.delete().where(account_days.c.day <= newest - SHOWN))
