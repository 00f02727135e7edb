"""Incidents for people's commands: each call is one transaction on the database of the settings."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import msgspec
from sqlalchemy import Connection, Engine

from alerts.database import database_errors, open_database
from alerts.incidents import store
from alerts.incidents.incident import Incident, State, Step
from vedette.clock import Clock
from vedette.events import Alert
from vedette.settings import Settings


class Detail(msgspec.Struct, frozen=True, kw_only=True):
    """An incident with everything known about it."""

    incident: Incident
    alerts: list[Alert]
    history: list[Step]


class Incidents:
    """The incidents of one database.

    Args:
        engine: Of the database.
        clock: Dates what people do.
    """

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def list(self, states: Iterable[State], limit: int) -> list[Incident]:
        """Those in these states, the most expensive first."""
        with self._transaction(reads=True) as connection:
            return store.find(connection, states, limit)

    def show(self, incident: int) -> Detail:
        """One with its alerts and history.

        Raises:
            InputError: There is none of this number.
        """
        with self._transaction(reads=True) as connection:
            return Detail(
                incident=store.get(connection, incident),
                alerts=store.alerts_of(connection, incident),
                history=store.history_of(connection, incident),
            )

    def acknowledge(self, incident: int, who: str, note: str = "") -> Incident:
        """Take one on.

        Raises:
            InputError: There is none of this number, or it is closed.
        """
        with self._transaction() as connection:
            return store.acknowledge(connection, incident, who, note, self._clock.now_ms())

    def close(self, incident: int, *, fraud: bool, who: str, note: str = "") -> Incident:
        """Confirm one as fraud, or dismiss it.

        Raises:
            InputError: There is none of this number, or it is closed already.
        """
        with self._transaction() as connection:
            return store.close(connection, incident, fraud=fraud, who=who, note=note, now=self._clock.now_ms())

    @contextmanager
    def _transaction(self, *, reads: bool = False) -> Iterator[Connection]:
        with database_errors(self._engine.url.render_as_string()), self._engine.connect() as connection:
            connection.execution_options(reads=reads)
            with connection.begin():
                yield connection


@contextmanager
def open_incidents(settings: Settings, clock: Clock) -> Iterator[Incidents]:
    """The incidents of the settings' database.

    Raises:
        SettingsError: The URL is no database Vedette can use.
        StateError: The database does not answer, or is of a newer Vedette.
    """
    engine = open_database(settings.incidents)
    try:
        yield Incidents(engine, clock)
    finally:
        engine.dispose()
