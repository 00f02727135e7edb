"""Incidents for people's commands: each call is one transaction on the database of the settings."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import msgspec
from sqlalchemy import Connection, Engine

from alerts.audit import open_audit
from alerts.database import database_errors, open_database
from alerts.incidents import store
from alerts.incidents.actions import Actions
from alerts.incidents.incident import Incident, State, Step
from vedette.clock import Clock
from vedette.events import Alert
from vedette.settings import AuditSettings, Settings


class Detail(msgspec.Struct, frozen=True, kw_only=True):
    """An incident with everything known about it."""

    incident: Incident
    alerts: list[Alert]
    history: list[Step]


class Incidents:
    """The incidents of one database.

    Args:
        engine: Of the database.
        audit: Where the log is that each step is recorded in; it is opened for a step alone.
        clock: Dates what people do.
    """

    def __init__(self, engine: Engine, audit: AuditSettings, clock: Clock) -> None:
        self._engine = engine
        self._audit = audit
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
            SettingsError: The audit log has no key.
        """
        with self._acting() as (connection, actions):
            return actions.acknowledge(connection, incident, who, note, self._clock.now_ms(), "command")

    def close(self, incident: int, *, fraud: bool, who: str, note: str = "") -> Incident:
        """Confirm one as fraud, or dismiss it.

        Raises:
            InputError: There is none of this number, or it is closed already.
            SettingsError: The audit log has no key.
        """
        with self._acting() as (connection, actions):
            now = self._clock.now_ms()
            return actions.close(connection, incident, fraud=fraud, who=who, note=note, now=now, way="command")

    @contextmanager
    def _acting(self) -> Iterator[tuple[Connection, Actions]]:
        with open_audit(self._audit, self._clock, "operator") as audit, self._transaction() as connection:
            yield connection, Actions(audit)

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
        yield Incidents(engine, settings.audit, clock)
    finally:
        engine.dispose()
