"""Incidents in the database. Every function works in its caller's transaction."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from adapters.database import insert_new
from alerts.incidents.incident import HistoryEntry, Incident, State, check_step, closed_incident, labels
from alerts.tables import events, facts, incident_alerts, incident_history, incidents, is_open
from vedette.clock import SECOND
from vedette.errors import InputError
from vedette.events import Alert
from vedette.topics import Name

_AT_ONCE = 500  # bound parameters of one statement
_COLUMNS = tuple(incidents.c[field] for field in Incident.__struct_fields__)
_VEDETTE = "vedette"
_CURRENCY = "currency"

UNDO = 60 * SECOND
"""How long the closing of an incident can be undone in the console."""

_PUBLISHING = 5 * SECOND  # events this close to being due may already be on their way

HOLD = UNDO + _PUBLISHING
"""How long labels wait where the closing can be undone."""


class _EventTime(msgspec.Struct, frozen=True):
    event_time: int


_EVENT_TIMES = msgspec.json.Decoder(_EventTime)


def join(connection: Connection, alerts: Sequence[Alert], value: Callable[[Alert], int], now: int) -> list[int]:
    """Add alerts to the open incidents of their accounts, or open new ones; a known alert changes nothing.

    Args:
        connection: In a transaction.
        alerts: In the order they came.
        value: Gives the expected loss of an alert in minor units of the ranking currency.
        now: Milliseconds since 1970 UTC.

    Returns:
        The ids of incidents that are new or have new alerts, in no order.
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
    incident_of: dict[str, int] = dict(
        connection.execute(
            select(incidents.c.account_id, incidents.c.id)
            .where(incidents.c.account_id.in_(accounts), is_open)
            .with_for_update()  # nobody closes an incident while alerts join it; SQLite has one writer anyway
        ).all()
    )
    without = [account for account in dict.fromkeys(alert.account_id for alert in new) if account not in incident_of]
    incident_of |= _open(connection, without, now)
    connection.execute(
        insert(incident_alerts),
        [
            {
                "alert_id": alert.alert_id,
                "incident_id": incident_of[alert.account_id],
                "body": msgspec.json.encode(alert),
                "added_at": now,
                "notified": False,
            }
            for alert in new
        ],
    )
    growth: dict[int, tuple[int, int]] = {}
    for alert in new:
        incident = incident_of[alert.account_id]
        loss, count = growth.get(incident, (0, 0))
        growth[incident] = loss + value(alert), count + 1
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
    _write_history(connection, [id_ for _, id_ in opened], "open", _VEDETTE, "", now)
    return dict(opened)


def find(connection: Connection, states: Iterable[State], limit: int | None = None) -> list[Incident]:
    """Return incidents in these states, the highest expected loss first."""
    query = (
        select(*_COLUMNS)
        .where(incidents.c.state.in_(bindparam("states", list(states), expanding=True, literal_execute=True)))
        .order_by(incidents.c.expected_loss.desc(), incidents.c.id)
        .limit(limit)
    )
    return [_incident(row) for row in connection.execute(query)]


def get(connection: Connection, incident: int) -> Incident:
    """Return one incident.

    Raises:
        InputError: It does not exist.
    """
    row = connection.execute(select(*_COLUMNS).where(incidents.c.id == incident)).one_or_none()
    if row is None:
        raise InputError(f"there is no incident {incident}", remedy="`vedette incidents list --all` shows which")
    return _incident(row)


def some(connection: Connection, numbers: Sequence[int]) -> list[Incident]:
    """Return these incidents, in no order."""
    return [_incident(row) for row in connection.execute(select(*_COLUMNS).where(incidents.c.id.in_(numbers)))]


def alerts_of(connection: Connection, incident: int) -> list[Alert]:
    """Return an incident's alerts in order of event time."""
    query = select(incident_alerts.c.body).where(incident_alerts.c.incident_id == incident)
    found = [msgspec.json.decode(body, type=Alert) for body in connection.scalars(query)]
    return sorted(found, key=lambda alert: (alert.event_time, alert.alert_id))


def last_payments(connection: Connection, numbers: Sequence[int]) -> dict[int, int]:
    """Return the event time of the latest payment of each of these incidents, ms since 1970 UTC."""
    latest: dict[int, int] = {}
    for start in range(0, len(numbers), _AT_ONCE):
        table = incident_alerts.c
        part = numbers[start : start + _AT_ONCE]
        for number, body in connection.execute(
            select(table.incident_id, table.body).where(table.incident_id.in_(part))
        ):
            event_time = _EVENT_TIMES.decode(body).event_time
            latest[number] = max(latest.get(number, event_time), event_time)
    return latest


def ranking_currency(connection: Connection) -> str:
    """Return the currency of expected losses; empty until a notifier has run with a routing."""
    return connection.scalar(select(facts.c.value).where(facts.c.name == _CURRENCY)) or ""


def set_ranking_currency(connection: Connection, currency: str) -> None:
    """Store the currency of expected losses, which the routing names."""
    if not insert_new(connection, facts, [{"name": _CURRENCY, "value": currency}]):
        connection.execute(update(facts).where(facts.c.name == _CURRENCY).values(value=currency))


def history_of(connection: Connection, incident: int) -> list[HistoryEntry]:
    """Return the history of an incident, oldest first."""
    table = incident_history.c
    query = select(table.at, table.state, table.who, table.note).where(table.incident_id == incident).order_by(table.id)
    return [HistoryEntry(*row) for row in connection.execute(query)]


def acknowledge(connection: Connection, incident: int, who: str, note: str, now: int) -> Incident:
    """Acknowledge an incident, which ends its escalation.

    Raises:
        InputError: It does not exist, or is closed.
    """
    return _step(connection, incident, "acknowledged", who, note, now)


def close(
    connection: Connection, incident: int, *, fraud: bool, who: str, note: str, now: int, hold: int = 0
) -> Incident:
    """Confirm an incident as fraud or dismiss it, and write an event with a label for each of its transactions.

    Args:
        connection: In a transaction.
        incident: Its number.
        fraud: Whether it was fraud.
        who: Who says so.
        note: For the history.
        now: Milliseconds since 1970 UTC.
        hold: Milliseconds before labels and incident are published; until then `reopen` undoes it.

    Raises:
        InputError: It does not exist, or is closed already.
    """
    closed = _step(connection, incident, "confirmed" if fraud else "false_alarm", who, note, now)
    made = labels(alerts_of(connection, incident), fraud=fraud, now=now)
    due_at = now + hold if hold else 0
    connection.execute(
        insert(events),
        [
            {"topic": Name.LABELS.value, "key": label.account_id, "value": msgspec.json.encode(label)}
            | {"due_at": due_at, "incident_id": incident}
            for label in made
        ],
    )
    _announce(connection, [incident], now, due_at)
    return closed


def reopen(connection: Connection, incident: int, *, who: str, now: int) -> Incident:
    """Undo the closing of an incident whose labels are not due yet; it is acknowledged again.

    Raises:
        InputError: It does not exist, somebody else has closed it, its labels are due, or the account has a new one.
    """
    connection.execute(select(incidents.c.id).where(incidents.c.id == incident).with_for_update())
    found = get(connection, incident)
    if found.state not in ("confirmed", "false_alarm") or found.owner != who:
        raise InputError(f"{who} has not closed incident {incident}")
    held = connection.execute(
        delete(events).where(events.c.incident_id == incident, events.c.due_at > now + _PUBLISHING)
    ).rowcount
    if held != found.alerts + 1:  # its labels, and the incident itself
        raise InputError(f"incident {incident} was closed more than a minute ago", remedy="its labels are published")
    other = select(incidents.c.id).where(incidents.c.account_id == found.account_id, is_open)
    if connection.scalar(other) is not None:
        raise InputError(f"the account of incident {incident} has a new open incident", remedy="work on that one")
    changed = {"state": "acknowledged", "updated_at": now}
    connection.execute(update(incidents).where(incidents.c.id == incident).values(**changed))
    _write_history(connection, [incident], "acknowledged", who, "undone", now)
    return get(connection, incident)


def held(connection: Connection, incident: int) -> bool:
    """Return whether labels of an incident are not published yet."""
    return connection.scalar(select(events.c.id).where(events.c.incident_id == incident).limit(1)) is not None


def expire(connection: Connection, untouched_since: int, now: int) -> int:
    """Close incidents without an action since then, without a label; return their number."""
    stale = list(
        connection.scalars(
            update(incidents)
            .where(is_open, incidents.c.updated_at < untouched_since)
            .values(state="expired", updated_at=now, escalate_at=None)
            .returning(incidents.c.id)
        )
    )
    _write_history(connection, stale, "expired", _VEDETTE, "", now)
    _announce(connection, stale, now)
    return len(stale)


def _announce(connection: Connection, numbers: Sequence[int], now: int, due_at: int = 0) -> None:
    """Write an event for each of these closed incidents, to be published when it is due."""
    for start in range(0, len(numbers), _AT_ONCE):
        part = some(connection, numbers[start : start + _AT_ONCE])
        made = [closed_incident(each, alerts_of(connection, each.id), now) for each in part]
        rows = [
            {"topic": Name.INCIDENTS.value, "key": each.account_id, "value": msgspec.json.encode(each)}
            | {"due_at": due_at, "incident_id": number}
            for number, each in zip((incident.id for incident in part), made, strict=True)
        ]
        if rows:
            connection.execute(insert(events), rows)


def escalate_now(connection: Connection, numbers: Iterable[int | None], now: int) -> None:
    """Bring the next escalation of unacknowledged incidents forward: a message about them was not delivered."""
    table = incidents.c
    chosen = sorted({number for number in numbers if number is not None})
    for start in range(0, len(chosen), _AT_ONCE):
        waiting = (table.id.in_(chosen[start : start + _AT_ONCE]), table.state == "open", table.escalate_at > now)
        connection.execute(update(incidents).where(*waiting).values(escalate_at=now))


def count(connection: Connection, states: Iterable[State]) -> int:
    """Return the number of incidents in these states."""
    query = select(func.count()).select_from(incidents).where(incidents.c.state.in_(list(states)))
    return connection.execute(query).scalar_one()


def _step(connection: Connection, incident: int, state: State, who: str, note: str, now: int) -> Incident:
    present = connection.execute(select(incidents.c.state).where(incidents.c.id == incident).with_for_update())
    found = present.scalar_one_or_none()
    if found is not None:
        check_step(incident, found, state)
        changed = {"state": state, "owner": who, "updated_at": now, "escalate_at": None}
        connection.execute(update(incidents).where(incidents.c.id == incident).values(**changed))
        _write_history(connection, [incident], state, who, note, now)
    return get(connection, incident)


def _write_history(connection: Connection, numbers: list[int], state: State, who: str, note: str, now: int) -> None:
    if numbers:
        rows = [{"incident_id": id_, "at": now, "state": state, "who": who, "note": note} for id_ in numbers]
        connection.execute(insert(incident_history), rows)


def _incident(row: Any) -> Incident:
    return Incident(**row._mapping)  # noqa: SLF001, SQLAlchemy's public way to a row as a mapping
