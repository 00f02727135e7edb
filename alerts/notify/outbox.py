"""The outbox: one row per message, recipient and channel, written in the transaction that causes it.

A message goes pending → sending → sent, failed or unknown. Its text is kept only until it is sent.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Select, bindparam, case, func, or_, select, update

from adapters.channels.message import Message
from adapters.channels.target import ChannelName
from adapters.database import insert_new
from alerts.notify.retry_policy import OutboxChange, Status
from alerts.tables import is_doubtful, is_urgent, links, messages, receipts, rejects

_LIST = ("id", "subject", "incident_id", "recipient", "channel", "status", "urgent", "attempts", "due_at",
         "provider_id", "code", "error", "receipt", "created_at", "updated_at")  # fmt: skip


class Outgoing(NamedTuple):
    """A message to be written to the outbox: when it may be sent (ms since 1970 UTC), and whether it is urgent."""

    message: Message
    due_at: int
    urgent: bool = False


class NextDue(NamedTuple):
    """When the next message, and the next urgent message, is due, ms since 1970 UTC; None if there is none."""

    any: int | None
    urgent: int | None


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A message to work on; `status` is sending, or unknown when it must be looked up first."""

    id: int
    message: Message
    status: Status
    urgent: bool
    attempts: int
    begun_at: int


class OutboxRow(msgspec.Struct, frozen=True, kw_only=True):
    """A message as `vedette notify list` shows it; `due_at` None means that there are no further attempts."""

    id: int
    subject: str
    incident_id: int | None
    recipient: str
    channel: str
    status: Status
    urgent: bool
    attempts: int
    due_at: int | None
    provider_id: str
    code: str
    error: str
    receipt: str
    created_at: int
    updated_at: int


class MessageCount(msgspec.Struct, frozen=True):
    """The number of messages of a channel in a status; channel "rejects" counts records that are not alerts."""

    channel: str
    status: str
    count: int


def add(connection: Connection, new: Iterable[Outgoing], now: int) -> int:
    """Write messages as pending; a key that is already in the outbox is ignored.

    Returns:
        The number of new messages.
    """
    rows = [
        {
            "subject": message.key, "incident_id": message.incident, "recipient": message.recipient,
            "channel": message.channel, "status": "pending", "urgent": urgent, "due_at": due_at,
            "body": msgspec.json.encode(message), "created_at": now, "updated_at": now,
        }
        for message, due_at, urgent in new
    ]  # fmt: skip
    return insert_new(connection, messages, rows)


def reject(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Keep records of the topic that are not alerts, once each."""
    insert_new(connection, rejects, rows)


def recover(connection: Connection, due_at: int, now: int) -> int:
    """After a crash, mark messages being sent as unknown, to be looked up at `due_at`. Return their number."""
    return connection.execute(
        update(messages)
        .where(messages.c.status == "sending")
        .values(
            status="unknown",
            due_at=due_at,
            code="crash",
            error="the process ended while sending",
            doubts=messages.c.doubts + 1,
            updated_at=now,
        )
    ).rowcount


def claim(
    connection: Connection, channel: ChannelName, now: int, limit: int, *, urgent_only: bool = False
) -> list[OutboxEntry]:
    """Mark due pending messages as being sent, the urgent ones first, then those that have been due longest.

    Args:
        connection: In a transaction.
        channel: The channel whose messages are claimed.
        now: Milliseconds since 1970 UTC.
        limit: Maximum number of messages.
        urgent_only: Leave out messages that are not urgent.

    Returns:
        The messages, now marked as being sent.
    """
    if limit <= 0:
        return []
    pending = messages.c.status == "pending"
    rows = list(connection.execute(_due(channel, now, limit).where(pending, is_urgent)))
    if not urgent_only and len(rows) < limit:
        rows += connection.execute(_due(channel, now, limit - len(rows)).where(pending, ~messages.c.urgent))
    if rows:
        connection.execute(
            update(messages)
            .where(messages.c.id.in_([row.id for row in rows]))
            .values(
                status="sending",
                due_at=None,
                attempts=messages.c.attempts + 1,
                begun_at=func.coalesce(messages.c.begun_at, now),
                updated_at=now,
            )
        )
    return [_entry(row, "sending", row.attempts + 1, now) for row in rows]


def doubtful(connection: Connection, channel: ChannelName, now: int, limit: int) -> list[OutboxEntry]:
    """Return messages of a channel whose outcome must be looked up, unchanged; see `claim` for the arguments."""
    rows = connection.execute(_due(channel, now, limit).where(is_doubtful))
    return [_entry(row, "unknown", row.attempts, now) for row in rows]


def next_due(connection: Connection, channel: ChannelName) -> NextDue:
    """Return when the next message of a channel is due."""
    due = select(func.min(messages.c.due_at)).where(messages.c.channel == channel)
    return NextDue(connection.scalar(due), connection.scalar(due.where(is_urgent)))


def has_due(connection: Connection, channels: Iterable[ChannelName], now: int) -> bool:
    """Return whether a message of these channels is due."""
    due = select(messages.c.id).where(messages.c.due_at <= now).limit(1)
    return any(connection.scalar(due.where(messages.c.channel == channel)) is not None for channel in channels)


def _due(channel: ChannelName, now: int, limit: int) -> Select[Any]:
    table = messages.c
    return (
        select(table.id, table.body, table.urgent, table.attempts, table.begun_at)
        .where(table.channel == channel, table.due_at <= now)
        .order_by(table.due_at, table.id)
        .limit(limit)
    )


def _entry(row: Any, status: Status, attempts: int, now: int) -> OutboxEntry:
    return OutboxEntry(
        id=row.id,
        message=msgspec.json.decode(row.body, type=Message),
        status=status,
        urgent=row.urgent,
        attempts=attempts,
        begun_at=row.begun_at or now,
    )


def settle(connection: Connection, changes: Sequence[tuple[OutboxEntry, OutboxChange]], now: int) -> None:
    """Write the results of attempts; the text of a sent message is dropped."""
    if not changes:
        return
    table = messages.c
    statement = (
        update(messages)
        .where(table.id == bindparam("row"))
        .values(
            status=bindparam("to"), due_at=bindparam("due"), attempts=bindparam("tried"), code=bindparam("why"),
            error=bindparam("cause"), updated_at=now, provider_id=bindparam("provider"),
            doubts=table.doubts + bindparam("doubt"),
        )
    )  # fmt: skip
    connection.execute(
        statement,
        [
            {
                "row": entry.id, "to": change.status, "due": change.due_at, "tried": change.attempts,
                "why": change.code[:64], "cause": change.error, "provider": change.provider_id[:192],
                "doubt": int(change.status == "unknown" and entry.status != "unknown"),
            }
            for entry, change in changes
        ],
    )  # fmt: skip
    if sent := [entry.id for entry, change in changes if change.status == "sent"]:
        connection.execute(update(messages).where(table.id.in_(sent)).values(body=None))


def unfinished(connection: Connection) -> int:
    """Return the number of messages that will still be tried."""
    query = select(func.count()).where(or_(messages.c.due_at.is_not(None), messages.c.status == "sending"))
    return connection.execute(query).scalar_one()


def listing(connection: Connection, statuses: Sequence[str], limit: int) -> list[OutboxRow]:
    """Return messages in these statuses, newest first."""
    query = (
        select(*(messages.c[name] for name in _LIST))
        .where(messages.c.status.in_(statuses))
        .order_by(messages.c.id.desc())
        .limit(limit)
    )
    return [OutboxRow(**row._mapping) for row in connection.execute(query)]  # noqa: SLF001, the public way to a mapping


def count(connection: Connection, statuses: Sequence[str]) -> int:
    """Return the number of messages in these statuses."""
    query = select(func.count()).select_from(messages).where(messages.c.status.in_(statuses))
    return connection.execute(query).scalar_one()


def retry(connection: Connection, ids: Sequence[int], now: int) -> int:
    """Try dead letters again: failed ones are sent, doubtful ones looked up first. Return their number.

    Only messages without further attempts are touched, so one under way cannot be doubled. A message that the provider
    accepted and did not deliver is not sent again: its text is gone.
    """
    table = messages.c
    dead = (table.due_at.is_(None), table.body.is_not(None), table.status.in_(("failed", "unknown")))
    chosen = (*dead, table.id.in_(ids)) if ids else dead
    status = case((table.status == "failed", "pending"), else_="unknown")
    revived = update(messages).where(*chosen).values(status=status, due_at=now, attempts=0, updated_at=now)
    return connection.execute(revived).rowcount


def tally(connection: Connection) -> list[MessageCount]:
    """Return the number of messages per channel and status, and of rejects."""
    table = messages.c
    query = select(table.channel, table.status, func.count()).group_by(table.channel, table.status)
    found = [MessageCount(*row) for row in connection.execute(query.order_by(table.channel, table.status))]
    rejected = connection.execute(select(func.count()).select_from(rejects)).scalar_one()
    return [*found, MessageCount("rejects", "rejected", rejected)] if rejected else found


def purge(connection: Connection, before: int) -> int:
    """Delete messages that were finished before then, with their related rows; return the number of messages.

    Messages still to be tried stay, however old, and so do dead letters, which wait for a person. A message that the
    provider did not deliver cannot be sent again and is deleted like a sent one.
    """
    table = messages.c
    connection.execute(links.delete().where(links.c.expires_at < before))
    connection.execute(receipts.delete().where(receipts.c.received_at < before))
    connection.execute(rejects.delete().where(rejects.c.seen_at < before))
    finished = table.status.in_(("sent", "failed")) & table.body.is_(None)
    return connection.execute(messages.delete().where(finished, table.updated_at < before)).rowcount
