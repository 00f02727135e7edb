"""The queue: incidents that match a filter, in an order, with what a person needs to choose one."""

from typing import Literal

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, and_, func, not_, or_, select

from alerts.incidents import store, work
from alerts.incidents.incident import OPEN, Incident
from alerts.incidents.work import IncidentClaim
from alerts.tables import incident_alerts, incident_claims, incidents, is_open
from vedette.events import Alert

Standing = Literal["open", "closed", "all"]
Order = Literal["loss", "due", "newest"]
Holder = Literal["anybody", "me", "nobody", "others"]

_AT_ONCE = 500


class QueueFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions on incidents.

    Attributes:
        standing: Whether they are open.
        holder: Who works on them.
        account: The account begins with this.
        min_loss: Smallest expected loss, minor units of the ranking currency.
        opened_before: Opened before this, ms since 1970 UTC; None: any time.
        order: The first one of the queue: the largest expected loss, the earliest due, or the newest.
    """

    standing: Standing = "open"
    holder: Holder = "anybody"
    account: str = ""
    min_loss: int = 0
    opened_before: int | None = None
    order: Order = "loss"


class QueueEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An incident in the queue, with its alert of the largest expected loss."""

    incident: Incident
    claim: IncidentClaim | None
    worst: Alert | None
    last_payment: int | None


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the queue.

    Attributes:
        entries: The incidents of the page.
        total: Number of all that match.
        loss: Their expected loss together, minor units of `currency`.
        currency: The ranking currency; empty until a notifier has run.
        newest: Largest number of an incident of the database.
    """

    entries: list[QueueEntry]
    total: int
    loss: int
    currency: str
    newest: int


def read(connection: Connection, wanted: QueueFilter, who: str, now: int, *, limit: int, offset: int = 0) -> Queue:
    """Return a page of the queue for a person."""
    where = _conditions(wanted, who, now)
    total, loss = connection.execute(
        _joined(select(func.count(), func.coalesce(func.sum(incidents.c.expected_loss), 0)), now).where(where)
    ).one()
    numbers = numbers_in(connection, wanted, who, now, limit=limit, offset=offset)
    return Queue(
        entries=_entries(connection, numbers, now),
        total=total,
        loss=int(loss),
        currency=store.ranking_currency(connection),
        newest=newest(connection),
    )


def numbers_in(
    connection: Connection, wanted: QueueFilter, who: str, now: int, *, limit: int, offset: int = 0
) -> list[int]:
    """Return the numbers of a page of the queue, in order."""
    query = _joined(select(incidents.c.id), now).where(_conditions(wanted, who, now))
    return list(connection.scalars(query.order_by(*_ORDERS[wanted.order]).limit(limit).offset(offset)))


def newest(connection: Connection) -> int:
    """Return the largest number of an incident; 0 if there is none."""
    return connection.scalar(select(func.max(incidents.c.id))) or 0


def arrivals(connection: Connection, after: int) -> tuple[int, int]:
    """Return how many open incidents are newer than a number, and their expected loss together."""
    query = select(func.count(), func.coalesce(func.sum(incidents.c.expected_loss), 0))
    count, loss = connection.execute(query.where(incidents.c.id > after, is_open)).one()
    return count, int(loss)


_ORDERS = {
    "loss": (incidents.c.expected_loss.desc(), incidents.c.id),
    "due": (incidents.c.opened_at, incidents.c.id),
    "newest": (incidents.c.id.desc(),),
}


def _joined(query: Select, now: int) -> Select:  # type: ignore[type-arg]
    own = and_(incident_claims.c.incident_id == incidents.c.id, incident_claims.c.expires_at > now)
    return query.select_from(incidents.outerjoin(incident_claims, own))


def _conditions(wanted: QueueFilter, who: str, now: int) -> ColumnElement[bool]:
    table, holder = incidents.c, incident_claims.c.who
    conditions: list[ColumnElement[bool]] = [table.id > 0]
    if wanted.standing != "all":
        conditions.append(is_open if wanted.standing == "open" else not_(is_open))
    if wanted.holder == "me":
        conditions.append(or_(holder == who, and_(not_(is_open), table.owner == who)))
    elif wanted.holder == "nobody":
        conditions.append(holder.is_(None))
    elif wanted.holder == "others":
        conditions.append(and_(holder.is_not(None), holder != who))
    if wanted.account:
        conditions.append(table.account_id.startswith(wanted.account, autoescape=True))
    if wanted.min_loss:
        conditions.append(table.expected_loss >= wanted.min_loss)
    if wanted.opened_before is not None:
        conditions.append(table.opened_at < min(wanted.opened_before, now))
    return and_(*conditions)


def _entries(connection: Connection, numbers: list[int], now: int) -> list[QueueEntry]:
    found = {incident.id: incident for incident in store.some(connection, numbers)}
    claims = work.claims_of(connection, numbers, now)
    alerts = _alerts(connection, numbers)
    return [
        QueueEntry(
            incident=found[number],
            claim=claims.get(number) if found[number].state in OPEN else None,
            worst=max(alerts[number], key=lambda alert: alert.expected_loss) if number in alerts else None,
            last_payment=max(alert.event_time for alert in alerts[number]) if number in alerts else None,
        )
        for number in numbers
    ]


def _alerts(connection: Connection, numbers: list[int]) -> dict[int, list[Alert]]:
    alerts: dict[int, list[Alert]] = {}
    for start in range(0, len(numbers), _AT_ONCE):
        table = incident_alerts.c
        part = numbers[start : start + _AT_ONCE]
        for number, body in connection.execute(
            select(table.incident_id, table.body).where(table.incident_id.in_(part))
        ):
            alerts.setdefault(number, []).append(msgspec.json.decode(body, type=Alert))
    return alerts
