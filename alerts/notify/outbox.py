"""The outbox: one row per message, recipient and channel, written in the transaction that gives rise to it.

A message goes pending → sending → sent, failed or unknown. Its text is kept only until it is sent.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, bindparam, case, func, or_, select, update

from alerts.database import insert_new
from alerts.database.tables import is_doubtful, links, messages, receipts, rejects
from alerts.incidents.routing import ChannelName
from alerts.notify.message import Message
from alerts.notify.sender import Change, Status

_LIST = ("id", "subject", "incident_id", "recipient", "channel", "status", "attempts", "due_at", "provider_id",
         "code", "error", "receipt", "created_at", "updated_at")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """A message whose turn has come; `status` is sending, or unknown when it must be looked up first."""

    id: int
    message: Message
    status: Status
    attempts: int
    begun_at: int


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A message as `vedette notify list` shows it; `due_at` None means that nothing more is tried."""

    id: int
    subject: str
    incident_id: int | None
    recipient: str
    channel: str
    status: Status
    attempts: int
    due_at: int | None
    provider_id: str
    code: str
    error: str
    receipt: str
    created_at: int
    updated_at: int


class Tally(msgspec.Struct, frozen=True):
    """How many messages of a channel are in a status; channel "rejects" counts what was no alert."""

    channel: str
    status: str
    count: int


def add(connection: Connection, new: Iterable[tuple[Message, int]], now: int) -> int:
    """Write messages as pending, each with the time from when it may go; a key that is known changes nothing.

    Returns:
        How many were new.
    """
    rows = [
        {
            "subject": message.key, "incident_id": message.incident, "recipient": message.recipient,
            "channel": message.channel, "status": "pending", "due_at": due_at, "body": msgspec.json.encode(message),
            "created_at": now, "updated_at": now,
        }
        for message, due_at in new
    ]  # fmt: skip
    return insert_new(connection, messages, rows)


def reject(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Keep what is on the topic and no alert, once."""
    insert_new(connection, rejects, rows)


def recover(connection: Connection, due_at: int, now: int) -> int:
    """After a crash: what was being sent is unknown, to be looked up at `due_at`. Returns how many."""
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


def claim(connection: Connection, channel: ChannelName, now: int, most: int) -> list[Entry]:
    """The pending messages of a channel that have been due longest, now marked as being sent.

    Args:
        connection: In a transaction.
        channel: Whose.
        now: Milliseconds since 1970 UTC.
        most: How many at most.
    """
    if most <= 0:
        return []
    rows = connection.execute(_due(channel, now, most).where(messages.c.status == "pending")).all()
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


def doubtful(connection: Connection, channel: ChannelName, now: int, most: int) -> list[Entry]:
    """The messages of a channel that must be looked up, and stay as they are; see `claim` for the arguments."""
    rows = connection.execute(_due(channel, now, most).where(is_doubtful))
    return [_entry(row, "unknown", row.attempts, now) for row in rows]


def _due(channel: ChannelName, now: int, most: int) -> Select[Any]:
    table = messages.c
    return (
        select(table.id, table.body, table.attempts, table.begun_at)
        .where(table.channel == channel, table.due_at <= now)
        .order_by(table.due_at, table.id)
        .limit(most)
    )


def _entry(row: Any, status: Status, attempts: int, now: int) -> Entry:
    message = msgspec.json.decode(row.body, type=Message)
    return Entry(id=row.id, message=message, status=status, attempts=attempts, begun_at=row.begun_at or now)


def settle(connection: Connection, changes: Sequence[tuple[Entry, Change]], now: int) -> None:
    """Write what attempts led to; the text of a sent message is dropped."""
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
    if gone := [entry.id for entry, change in changes if change.status == "sent"]:
        connection.execute(update(messages).where(table.id.in_(gone)).values(body=None))


def unfinished(connection: Connection) -> int:
    """How many messages will still be tried."""
    query = select(func.count()).where(or_(messages.c.due_at.is_not(None), messages.c.status == "sending"))
    return connection.execute(query).scalar_one()


def listing(connection: Connection, statuses: Sequence[str], limit: int) -> list[Row]:
    """Messages in these statuses, the newest first."""
    query = (
        select(*(messages.c[name] for name in _LIST))
        .where(messages.c.status.in_(statuses))
        .order_by(messages.c.id.desc())
        .limit(limit)
    )
    return [Row(**row._mapping) for row in connection.execute(query)]  # noqa: SLF001, the public way to a mapping


def retry(connection: Connection, ids: Sequence[int], now: int) -> int:
    """Have dead letters tried anew: failed ones are sent, doubtful ones are looked up first. Returns how many.

    Only what nobody tries any more is touched, so a message under way cannot be doubled.
    """
    table = messages.c
    dead = (table.due_at.is_(None), table.body.is_not(None), table.status.in_(("failed", "unknown")))
    chosen = (*dead, table.id.in_(ids)) if ids else dead
    status = case((table.status == "failed", "pending"), else_="unknown")
    anew = update(messages).where(*chosen).values(status=status, due_at=now, attempts=0, updated_at=now)
    return connection.execute(anew).rowcount


def tally(connection: Connection) -> list[Tally]:
    """Counts per channel and status, and of rejects."""
    table = messages.c
    query = select(table.channel, table.status, func.count()).group_by(table.channel, table.status)
    found = [Tally(*row) for row in connection.execute(query.order_by(table.channel, table.status))]
    rejected = connection.execute(select(func.count()).select_from(rejects)).scalar_one()
    return [*found, Tally("rejects", "rejected", rejected)] if rejected else found


def purge(connection: Connection, before: int) -> int:
    """Forget messages that were settled before then, and what was kept about them. Returns how many messages.

    What is still tried stays, however old; so do dead letters, which wait for a person.
    """
    table = messages.c
    connection.execute(links.delete().where(links.c.expires_at < before))
    connection.execute(receipts.delete().where(receipts.c.received_at < before))
    connection.execute(rejects.delete().where(rejects.c.seen_at < before))
    return connection.execute(messages.delete().where(table.status == "sent", table.updated_at < before)).rowcount
