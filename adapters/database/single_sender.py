"""A lock on a whole database that ends with the process holding it, even if that is killed."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine, text

from vedette.errors import StateError

_SENDER_LOCK = 0x7EDE77E + 1  # next to that of migrations


@contextmanager
def sole_sender(engine: Engine) -> Iterator[Callable[[], None]]:
    """Hold the lock that makes this process the only sender of a database.

    Yields a function that checks that the lock is still held: with PostgreSQL it is lost with its connection.

    Raises:
        StateError: Another process sends from this database.
    """
    if engine.dialect.name == "sqlite":
        with _file_lock(Path(str(engine.url.database))):
            yield lambda: None
        return
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.detach()  # the lock ends with the connection, which a pool would keep
        if not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": _SENDER_LOCK}).scalar():
            raise _taken(engine.url.render_as_string())
        yield lambda: connection.execute(text("SELECT 1")).close()


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive transaction on a file next to the database, which works on every platform."""
    lock = sqlite3.connect(path.with_name(path.name + ".lock"), isolation_level=None, timeout=0)
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        lock.close()
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise StateError(f"{path}.lock cannot be locked: {error}", remedy="name another database") from error
        raise _taken(str(path)) from error
    try:
        yield
    finally:
        lock.close()


def _taken(shown: str) -> StateError:
    return StateError(f"another process sends from database {shown}", remedy="run one `vedette notify` per database")
