"""Operations of the `vedette notify` commands on the outbox: each call opens the database once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec
from sqlalchemy import Connection

from adapters.database import database_errors, open_database
from alerts.notify import failures, outbox
from alerts.notify.failures import ComponentFailure
from alerts.notify.outbox import MessageCount, OutboxRow
from vedette.clock import Clock
from vedette.settings import Settings

DEAD = ("failed", "unknown")
"""Statuses that need a person. An unknown message may still be looked up."""

EVERY = (*DEAD, "pending", "sending", "sent")


class NotifierStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Messages per channel and status, and current failures."""

    messages: list[MessageCount]
    failures: list[ComponentFailure]


class MessageList(msgspec.Struct, frozen=True, kw_only=True):
    """Messages, newest first, and their total number."""

    messages: list[OutboxRow]
    total: int


def status(settings: Settings) -> NotifierStatus:
    """Return the counts of messages and the current failures.

    Raises:
        StateError: The database does not answer, or belongs to a newer Vedette.
    """
    with _transaction(settings, reads=True) as connection:
        return NotifierStatus(messages=outbox.tally(connection), failures=failures.listing(connection))


def listing(settings: Settings, statuses: Sequence[str], limit: int) -> MessageList:
    """Return messages in these statuses; see `status` for the errors."""
    with _transaction(settings, reads=True) as connection:
        rows = outbox.listing(connection, statuses, limit)
        return MessageList(messages=rows, total=outbox.count(connection, statuses))


def retry(settings: Settings, ids: Sequence[int], clock: Clock) -> int:
    """Try dead letters again, all of them if no id is given; return their number. See `status` for the errors."""
    with _transaction(settings) as connection:
        return outbox.retry(connection, ids, clock.now_ms())


@contextmanager
def _transaction(settings: Settings, *, reads: bool = False) -> Iterator[Connection]:
    engine = open_database(settings.database)
    try:
        with database_errors(settings.database.url), engine.connect() as connection:
            connection.execution_options(reads=reads)
            with connection.begin():
                yield connection
    finally:
        engine.dispose()
