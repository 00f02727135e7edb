"""Opening the database: connection, durability, and the schema brought up to date."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from threading import Condition
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, Engine, Table, event, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from vedette.errors import SettingsError, StateError
from vedette.settings import DatabaseSettings

HEAD = "0008"
"""The newest migration; a test compares it with the folder, so that opening the database need not read it."""

_BUSY_MS = 15_000
_TURN = "turn"  # key in a connection's info: it holds the write lock
_MIGRATION_LOCK = 0x7EDE77E  # a number that no other program locks in the same PostgreSQL database


def open_database(settings: DatabaseSettings) -> Engine:
    """Return an engine on the database of the settings, with its tables created or migrated.

    Raises:
        SettingsError: The URL is not one of a database that Vedette can use.
        StateError: The database does not answer, or is of a newer Vedette.
    """
    engine = _engine(settings)
    shown = engine.url.render_as_string(hide_password=True)
    with database_errors(shown):
        try:
            with engine.connect() as connection:
                found = _revision(connection)
            if found != HEAD:
                _migrate(engine, found, shown)
        except BaseException:
            engine.dispose()
            raise
    return engine


@contextmanager
def database_errors(shown: str) -> Iterator[None]:
    """Turn the driver's errors into one sentence; committed work is kept, everything else is rolled back."""
    try:
        yield
    except SQLAlchemyError as error:
        cause = str(error.orig if isinstance(error, DBAPIError) else error).strip().splitlines()[0]
        raise StateError(
            f"database {shown}: {cause}", remedy="recorded data is kept; restart once it is repaired"
        ) from error


def insert_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert the rows whose key does not exist yet, leave the others unchanged, and return the number of new ones."""
    if not rows:
        return 0
    key = next(iter(table.primary_key.columns))
    statement = insert_into(connection, table).on_conflict_do_nothing().returning(key)
    return len(connection.execute(statement, list(rows)).all())


def insert_into(connection: Connection, table: Table) -> Any:
    """Return an INSERT with ON CONFLICT in the dialect of the connection's database."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert  # noqa: PLC0415, slow to import, and most have SQLite

        return insert(table)
    return sqlite.insert(table)


def _engine(settings: DatabaseSettings) -> Engine:
    try:
        url = make_url(settings.url)
    except ArgumentError as error:
        raise SettingsError(
            f"[database] url {settings.url!r} is not a database URL",
            remedy="write it like sqlite:///var/alerts.sqlite or postgresql://vedette@db.example/vedette",
        ) from error
    if url.password is not None:
        raise SettingsError(
            "[database] url contains the password",
            remedy="remove it there, and name a file that contains it with password_file",
        )
    if url.get_backend_name() == "postgresql":
        if settings.password:
            url = url.set(password=settings.password.value)
        try:
            return sqlalchemy.create_engine(url.set(drivername="postgresql+psycopg"), pool_pre_ping=True)
        except (ImportError, NoSuchModuleError) as error:
            raise SettingsError(
                "[database] url is PostgreSQL, and its driver is not installed",
                remedy="pip install 'vedette[postgres]'",
            ) from error
    if url.get_backend_name() != "sqlite" or not url.database:
        raise SettingsError(
            f"[database] url {settings.url!r} is neither a SQLite file nor PostgreSQL",
            remedy="write it like sqlite:///var/alerts.sqlite or postgresql://vedette@db.example/vedette",
        )
    return _sqlite(Path(url.database))


def _sqlite(path: Path) -> Engine:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StateError(f"database {path} cannot be made: {error}", remedy="name another file") from error
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    turns = _Turns()

    @event.listens_for(engine, "connect")
    def prepare(raw: Any, _record: Any) -> None:
        raw.isolation_level = None  # the driver must not begin transactions by itself: `begin` below does
        for pragma in (f"busy_timeout = {_BUSY_MS}", "journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            # FULL: a Kafka offset is committed after rows are written, so they must survive a power cut.
            raw.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads first and writes later could fail as the file has changed; one that writes from the
        # start cannot.
        writes = not connection.get_execution_options().get("reads")
        if writes and not connection.info.get(_TURN):
            turns.take()
            connection.info[_TURN] = True
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN DEFERRED")

    @event.listens_for(engine, "checkin")
    def checkin(_raw: Any, record: Any) -> None:
        if record.info.pop(_TURN, False):
            turns.give()

    return engine


class _Turns:
    """Lets threads write one after another, in order of arrival.

    SQLite has one writer, and waiting threads poll for it: next to a thread that writes continuously the others would
    hardly ever get it.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._tickets = count()
        self._serving = 0

    def take(self) -> None:
        """Wait until it is this thread's turn."""
        with self._changed:
            ticket = next(self._tickets)
            self._changed.wait_for(lambda: self._serving == ticket)

    def give(self) -> None:
        """Let the next one write."""
        with self._changed:
            self._serving += 1
            self._changed.notify_all()


def _revision(connection: Connection) -> str:
    connection = connection.execution_options(reads=True)
    if not sqlalchemy.inspect(connection).has_table("alembic_version"):
        return ""
    return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or "")


def _migrate(engine: Engine, found: str, shown: str) -> None:
    from alembic import command  # noqa: PLC0415, half a second that only a new schema costs
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, HEAD)
        except CommandError as error:
            raise StateError(
                f"database {shown} has schema {found!r}, which this Vedette does not know",
                remedy="run the Vedette that wrote it, or name another database",
            ) from error
