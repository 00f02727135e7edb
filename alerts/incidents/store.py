"""Incidents in the database. Every function works inside its caller's transaction and leaves no half step."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, func, insert, select, update

from alerts.database.tables import events, incident_alerts, incident_history, incidents, is_open
from alerts.incidents.incident import Incident, State, Step, check_step, labels
from vedette.errors import InputError
from vedette.events import Alert
from vedette.topics import Name

_AT_ONCE = 500  # bound parameters of one statement
_COLUMNS = tuple(incidents.c[field] for field in Incident.__struct_fields__)
_VEDETTE = "vedette"


def join(connection: Connection, alerts: Sequence[Alert], value: Callable[[Alert], int], now: int) -> list[int]:
    """Let alerts join the open incidents of their accounts, or open new ones; an alert that is known changes nothing.

    Args:
        connection: In a transaction.
        alerts: In the order they came.
        value: What an alert may cost, in minor units of the currency that incidents are ranked in.
        now: Milliseconds since 1970 UTC.

    Returns:
        The incidents that have grown or are new, in no order.
    """
    touched: set[int] = set()
    for start in range(0, len(alerts), _AT_ONCE):
        touched |= _join(connection, alerts[start : start + _AT_ONCE], value, now)
    return list(touched)


def _join(connection: Connection, alerts: Sequence[Alert], value: Callable[[Alert], int], now: int) -> set[int]:
    first: dict[str, Alert] = {}
    for alert in alerts:
        first.setdefault(alert.alert_id, alert)
    table = incident_alerts.c
    known = set(connection.scalars(select(table.alert_id).where(table.alert_id.in_(list(first)))))
    new = [alert for id_, alert in first.items() if id_ not in known]
    if not new:
        return set()
    accounts = {alert.account_id for alert in new}
    of: dict[str, int] = dict(
        connection.execute(
            select(incidents.c.account_id, incidents.c.id)
            .where(incidents.c.account_id.in_(accounts), is_open)
            .with_for_update()  # nobody closes an incident while alerts join it; SQLite has one writer anyway
        ).all()
    )
    of |= _open(connection, [account for account in dict.fromkeys(a.account_id for a in new) if account not in of], now)
    connection.execute(
        insert(incident_alerts),
        [
            {
                "alert_id": alert.alert_id,
                "incident_id": of[alert.account_id],
                "body": msgspec.json.encode(alert),
                "added_at": now,
                "told": False,
            }
            for alert in new
        ],
    )
    growth: dict[int, tuple[int, int]] = {}
    for alert in new:
        loss, count = growth.get(of[alert.account_id], (0, 0))
        growth[of[alert.account_id]] = loss + value(alert), count + 1
    table = incidents.c
    grow = (
        update(incidents)
        .where(table.id == bindparam("grown"))
        .values(
            expected_loss=table.expected_loss + bindparam("loss"),
            alerts=table.alerts + bindparam("count"),
            updated_at=now,
        )
    )
    connection.execute(grow, [{"grown": id_, "loss": loss, "count": count} for id_, (loss, count) in growth.items()])
    return set(growth)


def _open(connection: Connection, accounts: list[str], now: int) -> dict[str, int]:
    if not accounts:
        return {}
    blank = {"state": "open", "expected_loss": 0, "alerts": 0, "opened_at": now, "updated_at": now}
    statement = insert(incidents).returning(incidents.c.account_id, incidents.c.id)
    opened = connection.execute(statement, [blank | {"account_id": account} for account in accounts]).all()
    _remember(connection, [id_ for _, id_ in opened], "open", _VEDETTE, "", now)
    return dict(opened)


def find(connection: Connection, states: Iterable[State], limit: int | None = None) -> list[Incident]:
    """Incidents in these states, the most expensive first."""
    query = (
        select(*_COLUMNS)
        .where(incidents.c.state.in_(bindparam("states", list(states), expanding=True, literal_execute=True)))
        .order_by(incidents.c.expected_loss.desc(), incidents.c.id)
        .limit(limit)
    )
    return [_incident(row) for row in connection.execute(query)]


def get(connection: Connection, incident: int) -> Incident:
    """One incident.

    Raises:
        InputError: There is none of this number.
    """
    row = connection.execute(select(*_COLUMNS).where(incidents.c.id == incident)).one_or_none()
    if row is None:
        raise InputError(f"there is no incident {incident}", remedy="`vedette incidents list --all` shows which")
    return _incident(row)


def some(connection: Connection, numbers: Sequence[int]) -> list[Incident]:
    """These incidents, in no order."""
    return [_incident(row) for row in connection.execute(select(*_COLUMNS).where(incidents.c.id.in_(numbers)))]


def alerts_of(connection: Connection, incident: int) -> list[Alert]:
    """An incident's alerts, oldest first."""
    query = (
        select(incident_alerts.c.body)
        .where(incident_alerts.c.incident_id == incident)
        .order_by(incident_alerts.c.added_at, incident_alerts.c.alert_id)
    )
    return [msgspec.json.decode(body, type=Alert) for body in connection.scalars(query)]


def history_of(connection: Connection, incident: int) -> list[Step]:
    """What happened to an incident, oldest first."""
    table = incident_history.c
    query = select(table.at, table.state, table.who, table.note).where(table.incident_id == incident).order_by(table.id)
    return [Step(*row) for row in connection.execute(query)]


def acknowledge(connection: Connection, incident: int, who: str, note: str, now: int) -> Incident:
    """Somebody takes an incident on: it no longer escalates.

    Raises:
        InputError: There is none of this number, or it is closed.
    """
    return _step(connection, incident, "acknowledged", who, note, now)


def close(connection: Connection, incident: int, *, fraud: bool, who: str, note: str, now: int) -> Incident:
    """Confirm an incident as fraud or dismiss it; a label for each of its transactions goes the way of events.

    Raises:
        InputError: There is none of this number, or it is closed already.
    """
    closed = _step(connection, incident, "confirmed" if fraud else "false_alarm", who, note, now)
    said = labels(alerts_of(connection, incident), fraud=fraud, now=now)
    connection.execute(
        insert(events),
        [{"topic": Name.LABELS.value, "key": label.account_id, "value": msgspec.json.encode(label)} for label in said],
    )
    return closed


def expire(connection: Connection, untouched_since: int, now: int) -> int:
    """Close what nobody has touched since then, without a label; how many."""
    stale = list(
        connection.scalars(
            update(incidents)
            .where(is_open, incidents.c.updated_at < untouched_since)
            .values(state="expired", updated_at=now, escalate_at=None)
            .returning(incidents.c.id)
        )
    )
    _remember(connection, stale, "expired", _VEDETTE, "", now)
    return len(stale)


def counts(connection: Connection) -> dict[str, int]:
    """How many incidents are in each state that occurs."""
    query = select(incidents.c.state, func.count()).group_by(incidents.c.state)
    return dict(connection.execute(query).all())


def _step(connection: Connection, incident: int, state: State, who: str, note: str, now: int) -> Incident:
    present = connection.execute(select(incidents.c.state).where(incidents.c.id == incident).with_for_update())
    found = present.scalar_one_or_none()
    if found is not None:
        check_step(incident, found, state)
        changed = {"state": state, "owner": who, "updated_at": now, "escalate_at": None}
        connection.execute(update(incidents).where(incidents.c.id == incident).values(**changed))
        _remember(connection, [incident], state, who, note, now)
    return get(connection, incident)


def _remember(connection: Connection, numbers: list[int], state: State, who: str, note: str, now: int) -> None:
    if numbers:
        rows = [{"incident_id": id_, "at": now, "state": state, "who": who, "note": note} for id_ in numbers]
        connection.execute(insert(incident_history), rows)


def _incident(row: Any) -> Incident:
    return Incident(**row._mapping)  # noqa: SLF001, SQLAlchemy's public way to a row as a mapping
