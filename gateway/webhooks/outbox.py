"""The outbox: one row per event and endpoint, until it is sent or given up.

A row is claimed for the length of an attempt. A sender that dies leaves it claimed, and it is due again when the claim
ends, so that it is sent at least once, always under the same id. Every function works in its caller's transaction.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
from sqlalchemy import Connection, delete, exists, func, select, update

from adapters.database import insert_new
from gateway.webhooks.endpoints import WebhookEndpoint
from gateway.webhooks.events import WebhookEvent
from gateway.webhooks.tables import deliveries, endpoints

DeliveryStatus = Literal["pending", "sent", "failed"]

_LIST = ("id", "endpoint_id", "event_id", "type", "status", "attempts", "due_at", "code", "created_at", "updated_at")


class WebhookDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """An event for an endpoint, as it is shown. Times are ms since 1970 UTC; `due_at` None: no further attempt."""

    id: int
    endpoint_id: str
    event_id: str
    type: str
    status: DeliveryStatus
    attempts: int
    due_at: int | None
    code: str
    created_at: int
    updated_at: int


class ClaimedDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """An event to be posted now, with the number of this attempt."""

    id: int
    event_id: str
    body: bytes
    attempts: int


class AttemptResult(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a delivery after an attempt."""

    id: int
    status: DeliveryStatus
    due_at: int | None
    code: str


def add(connection: Connection, events: Iterable[WebhookEvent], to: Sequence[WebhookEndpoint], now: int) -> int:
    """Write events for the endpoints that want them; a known one is ignored. Return the number of new rows."""
    rows = [
        {
            "endpoint_id": endpoint.id, "event_id": event.id, "type": event.type, "body": event.body,
            "status": "pending", "due_at": now, "created_at": now, "updated_at": now,
        }
        for event in events
        for endpoint in to
        if wants(endpoint, event)
    ]  # fmt: skip
    return insert_new(connection, deliveries, rows)


def wants(endpoint: WebhookEndpoint, event: WebhookEvent) -> bool:
    """Return whether an endpoint gets an event."""
    chosen = not event.action or not endpoint.actions or event.action in endpoint.actions
    return event.type in endpoint.events and chosen and event.at >= endpoint.created_at


def ready(connection: Connection, now: int) -> list[WebhookEndpoint]:
    """Return the active endpoints for which something is due."""
    due = exists().where(deliveries.c.endpoint_id == endpoints.c.id, deliveries.c.due_at <= now)
    names = WebhookEndpoint.__struct_fields__
    query = select(*(endpoints.c[name] for name in names)).where(
        endpoints.c.state == "active", endpoints.c.retry_at <= now, due
    )
    return [
        WebhookEndpoint(**dict(row._mapping) | {"events": row.events.split(), "actions": row.actions.split()})  # noqa: SLF001
        for row in connection.execute(query)
    ]


def claim(connection: Connection, endpoint_id: str, now: int, limit: int, until: int) -> list[ClaimedDelivery]:
    """Return due deliveries of an endpoint, the oldest first, which no other sender gets before a time.

    Args:
        connection: In a transaction.
        endpoint_id: The endpoint.
        now: Milliseconds since 1970 UTC.
        limit: Maximum number.
        until: End of the claim.
    """
    table = deliveries.c
    query = (
        select(table.id, table.event_id, table.body, table.attempts)
        .where(table.endpoint_id == endpoint_id, table.due_at <= now)
        .order_by(table.due_at, table.id)
        .limit(limit)
        .with_for_update(skip_locked=True)  # of another sender; SQLite has one writer anyway
    )
    rows = connection.execute(query).all()
    if rows:
        chosen = table.id.in_([row.id for row in rows])
        connection.execute(
            update(deliveries).where(chosen).values(due_at=until, attempts=table.attempts + 1, updated_at=now)
        )
    return [ClaimedDelivery(id=row.id, event_id=row.event_id, body=row.body, attempts=row.attempts + 1) for row in rows]


def settle(connection: Connection, results: Iterable[AttemptResult], now: int) -> None:
    """Write the results of attempts."""
    for result in results:
        connection.execute(
            update(deliveries)
            .where(deliveries.c.id == result.id)
            .values(status=result.status, due_at=result.due_at, code=result.code[:64], updated_at=now)
        )


def set_back(connection: Connection, endpoint_id: str, failures: int, retry_at: int) -> None:
    """Write how many attempts of an endpoint have failed in a row, and until when nothing is posted to it."""
    chosen = endpoints.c.id == endpoint_id
    connection.execute(update(endpoints).where(chosen).values(failures=failures, retry_at=retry_at))


def pause(connection: Connection, endpoint_id: str, because: str) -> None:
    """Pause an endpoint that must not be used any more."""
    chosen = endpoints.c.id == endpoint_id
    connection.execute(update(endpoints).where(chosen).values(state="paused", paused_because=because[:256]))


def listing(
    connection: Connection, endpoint_id: str, status: DeliveryStatus | None, limit: int
) -> list[WebhookDelivery]:
    """Return deliveries, newest first, of one endpoint (empty: all) and in one status (None: all)."""
    table = deliveries.c
    query = select(*(table[name] for name in _LIST)).order_by(table.id.desc()).limit(limit)
    if endpoint_id:
        query = query.where(table.endpoint_id == endpoint_id)
    if status:
        query = query.where(table.status == status)
    return [WebhookDelivery(**row._mapping) for row in connection.execute(query)]  # noqa: SLF001, its public name


def replay(connection: Connection, endpoint_id: str, since: int | None, now: int) -> int:
    """Post again what was given up; with a time, also what was sent, of events that came since then.

    Returns:
        The number of deliveries; those under way are left alone.
    """
    table = deliveries.c
    again = table.status == "failed" if since is None else table.status.in_(("failed", "sent"))
    recent = table.created_at >= (since or 0)
    chosen = update(deliveries).where(table.endpoint_id == endpoint_id, again, recent)
    return connection.execute(chosen.values(status="pending", due_at=now, attempts=0, updated_at=now)).rowcount


def tally(connection: Connection) -> dict[str, int]:
    """Return the number of deliveries by status."""
    counted = connection.execute(select(deliveries.c.status, func.count()).group_by(deliveries.c.status))
    return {status: number for status, number in counted}  # noqa: C416, rows are not pairs for the type checker


def purge(connection: Connection, before: int) -> int:
    """Delete what was sent before then; dead letters wait for a person. Return the number of rows."""
    finished = (deliveries.c.status == "sent", deliveries.c.updated_at < before)
    return connection.execute(delete(deliveries).where(*finished)).rowcount
