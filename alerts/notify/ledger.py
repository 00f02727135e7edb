"""The ledger: one row per alert, channel and recipient, in a SQLite file, written before anything is sent.

A message goes pending → sending → sent, failed or unknown. Its text is kept only until it is sent.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec

from alerts.notify.message import ChannelName, Message
from alerts.notify.sender import Change, Status
from vedette.errors import InputError, StateError

VERSION = 1

_SCHEMA = (
    """
    CREATE TABLE messages (
        alert_id TEXT NOT NULL, channel TEXT NOT NULL, recipient TEXT NOT NULL,
        status TEXT NOT NULL CHECK (status IN ('pending', 'sending', 'sent', 'failed', 'unknown')),
        attempts INTEGER NOT NULL DEFAULT 0,
        due_at INTEGER,           -- ms since 1970 UTC; NULL: nothing more is tried
        body BLOB,                -- the Message as JSON; NULL once sent
        provider_id TEXT NOT NULL DEFAULT '', code TEXT NOT NULL DEFAULT '', error TEXT NOT NULL DEFAULT '',
        created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
        PRIMARY KEY (alert_id, channel, recipient)
    ) STRICT
    """,
    "CREATE INDEX messages_due ON messages (channel, due_at) WHERE due_at IS NOT NULL",
    """
    CREATE TABLE rejects (
        topic TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
        reason TEXT NOT NULL, value BLOB, seen_at INTEGER NOT NULL,
        PRIMARY KEY (topic, partition, offset)
    ) STRICT
    """,
    "CREATE TABLE identity (id TEXT NOT NULL) STRICT",
    "INSERT INTO identity VALUES (lower(hex(randomblob(8))))",
    f"PRAGMA user_version = {VERSION}",
)


@dataclass(frozen=True, slots=True)
class Reject:
    """A message on the topic that is no alert."""

    topic: str
    partition: int
    offset: int
    reason: str
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Entry:
    """A message whose turn has come; `status` is pending, or unknown when it must be looked up first."""

    message: Message
    status: Status
    attempts: int


class Tally(msgspec.Struct, frozen=True):
    """How many messages of a channel are in a status; channel "rejects" counts what was no alert."""

    channel: str
    status: str
    count: int


class Ledger:
    """The ledger of the one process that sends from it; open it with `with`.

    Args:
        path: The SQLite file, created with its directory if need be.

    Raises:
        StateError: Another process sends from this ledger, or the file is no ledger of this version.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(path)
            try:
                self._db = _open(path)
            except BaseException:
                self._lock.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise StateError(f"ledger {path} cannot be opened: {error}", remedy="name another file") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and let another process have it."""
        self._db.close()
        self._lock.close()

    @property
    def identity(self) -> str:
        """Sixteen hex digits that tell this ledger from any other, drawn when it was created."""
        found: str = self._db.execute("SELECT id FROM identity").fetchone()[0]
        return found

    def record(self, messages: Iterable[Message], rejects: Iterable[Reject], now: int) -> int:
        """Write messages as pending and rejects, all or nothing; those already known change nothing.

        Returns:
            How many messages were new.
        """
        before = self._db.total_changes
        with _transaction(self._db):
            self._db.executemany(
                "INSERT INTO messages"
                " (alert_id, channel, recipient, status, due_at, body, created_at, updated_at)"
                " VALUES (?, ?, ?, 'pending', ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                [(m.alert_id, m.channel, m.recipient, now, msgspec.json.encode(m), now, now) for m in messages],
            )
            added = self._db.total_changes - before
            self._db.executemany(
                "INSERT INTO rejects VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                [(r.topic, r.partition, r.offset, r.reason, r.value, now) for r in rejects],
            )
        return added

    def recover(self, due_at: int, now: int) -> int:
        """After a crash: what was being sent is unknown, to be looked up at `due_at`. Returns how many."""
        with _transaction(self._db):
            return self._db.execute(
                "UPDATE messages SET status = 'unknown', due_at = ?, code = 'crash', updated_at = ?,"
                " error = 'the process ended while sending' WHERE status = 'sending'",
                (due_at, now),
            ).rowcount

    def next(self, channel: ChannelName, now: int) -> Entry | None:
        """The message of a channel that has been due longest, if any."""
        row = self._db.execute(
            "SELECT body, status, attempts FROM messages WHERE channel = ? AND due_at <= ?"
            " ORDER BY due_at, rowid LIMIT 1",
            (channel, now),
        ).fetchone()
        if row is None:
            return None
        return Entry(message=msgspec.json.decode(row[0], type=Message), status=row[1], attempts=row[2])

    def begin(self, message: Message, now: int) -> None:
        """Mark a message as being sent, before the provider is called."""
        with _transaction(self._db):
            self._db.execute(
                "UPDATE messages SET status = 'sending', due_at = NULL, attempts = attempts + 1, updated_at = ?"
                " WHERE alert_id = ? AND channel = ? AND recipient = ?",
                (now, message.alert_id, message.channel, message.recipient),
            )

    def settle(self, message: Message, change: Change, attempts: int, now: int) -> None:
        """Write what an attempt led to; the text of a sent message is dropped."""
        with _transaction(self._db):
            self._db.execute(
                "UPDATE messages SET status = ?, due_at = ?, attempts = ?, provider_id = ?, code = ?, error = ?,"
                " updated_at = ?, body = CASE WHEN ? = 'sent' THEN NULL ELSE body END"
                " WHERE alert_id = ? AND channel = ? AND recipient = ?",
                (
                    change.status, change.due_at, attempts, change.provider_id, change.code, change.error,
                    now, change.status,
                    message.alert_id, message.channel, message.recipient,
                ),
            )  # fmt: skip

    def unfinished(self) -> int:
        """How many messages will still be tried."""
        query = "SELECT count(*) FROM messages WHERE due_at IS NOT NULL OR status = 'sending'"
        count: int = self._db.execute(query).fetchone()[0]
        return count

    def tally(self) -> list[Tally]:
        """Counts per channel and status, and of rejects."""
        return _tally(self._db)


def read_tally(path: Path) -> list[Tally]:
    """Counts of a ledger that another process may be sending from.

    Raises:
        InputError: There is no ledger at this path.
        StateError: The file is no ledger of this version.
    """
    if not path.exists():
        raise InputError(f"there is no ledger {path}", remedy="`vedette notify` creates it")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            return _tally(db) if _version(db, path) else []
    except sqlite3.Error as error:
        raise StateError(f"ledger {path} cannot be read: {error}") from error


def _tally(db: sqlite3.Connection) -> list[Tally]:
    rows = db.execute(
        "SELECT channel, status, count(*) FROM messages GROUP BY 1, 2"
        " UNION ALL SELECT 'rejects', 'rejected', count(*) FROM rejects HAVING count(*) > 0 ORDER BY 1, 2"
    )
    return [Tally(*row) for row in rows]


def _open(path: Path) -> sqlite3.Connection:
    """A connection to the ledger, whose tables exist afterwards."""
    db = sqlite3.connect(path, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        # FULL: the Kafka offset is committed after a row is written, so the row must survive a power cut.
        db.execute("PRAGMA synchronous = FULL")
        if not _version(db, path):
            with _transaction(db):
                for statement in _SCHEMA:
                    db.execute(statement)
    except BaseException:
        db.close()
        raise
    return db


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All statements inside, or none; on disk afterwards."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if db.in_transaction:  # a full disk ends it by itself
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _version(db: sqlite3.Connection, path: Path) -> int:
    """The ledger's schema version, 0 for an empty file."""
    found: int = db.execute("PRAGMA user_version").fetchone()[0]
    if found not in (0, VERSION):
        raise StateError(
            f"ledger {path} has version {found}, this Vedette reads version {VERSION}",
            remedy="run the Vedette that wrote it, or name another file",
        )
    return found


def _lock(path: Path) -> sqlite3.Connection:
    """A lock that ends with the process, on every platform: an open exclusive transaction on a file beside."""
    lock = sqlite3.connect(path.with_name(path.name + ".lock"), isolation_level=None, timeout=0)
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        lock.close()
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise
        raise StateError(
            f"another process sends from ledger {path}", remedy="one `vedette notify` per ledger is enough"
        ) from error
    return lock
