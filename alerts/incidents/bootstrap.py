"""Incidents for the commands: each call is one transaction on the database of the settings."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec
from sqlalchemy import Connection, Engine

from access.audit import open_audit
from adapters.database import database_errors, open_database
from alerts.incidents import store
from alerts.incidents.actions import Actions
from alerts.incidents.incident import HistoryEntry, Incident, State
from vedette.clock import Clock
from vedette.events import Alert
from vedette.settings import AuditSettings, Settings


class IncidentDetail(msgspec.Struct, frozen=True, kw_only=True):
    """An incident with its alerts and history."""

    incident: Incident
    currency: str
    alerts: list[Alert]
    history: list[HistoryEntry]


class IncidentList(msgspec.Struct, frozen=True, kw_only=True):
    """Incidents, the highest expected loss first.

    Attributes:
        incidents: The incidents, as many as were asked for.
        total: Total number of incidents.
        currency: The currency of expected losses; empty until a notifier has run.
        last_payments: Event time of the latest payment by incident, ms since 1970 UTC.
    """

    incidents: list[Incident]
    total: int
    currency: str
    last_payments: dict[int, int]


class Incidents:
    """The incidents of one database.

    Args:
        engine: The database.
        audit: The settings of the audit log, which is opened for each step.
        clock: Dates the steps.
    """

    def __init__(self, engine: Engine, audit: AuditSettings, clock: Clock) -> None:
        self._engine = engine
        self._audit = audit
        self._clock = clock

    def list(self, states: Sequence[State], limit: int) -> IncidentList:
        """Return the incidents in these states with the highest expected loss, and how many there are."""
        with self._transaction(reads=True) as connection:
            found = store.find(connection, states, limit)
            return IncidentList(
                incidents=found,
                total=store.count(connection, states),
                currency=store.ranking_currency(connection),
                last_payments=store.last_payments(connection, [incident.id for incident in found]),
            )

    def show(self, incident: int) -> IncidentDetail:
        """Return an incident with its alerts in order of event time, and its history.

        Raises:
            InputError: It does not exist.
        """
        with self._transaction(reads=True) as connection:
            return IncidentDetail(
                incident=store.get(connection, incident),
                currency=store.ranking_currency(connection),
                alerts=store.alerts_of(connection, incident),
                history=store.history_of(connection, incident),
            )

    def acknowledge(self, incident: int, who: str, note: str = "") -> Incident:
        """Acknowledge an incident.

        Raises:
            InputError: It does not exist, or is closed.
            SettingsError: The audit log has no key.
        """
        with self._acting() as (connection, actions):
            return actions.acknowledge(connection, incident, who, note, self._clock.now_ms(), "command")

    def close(self, incident: int, *, fraud: bool, who: str, note: str = "") -> Incident:
        """Confirm an incident as fraud, or dismiss it.

        Raises:
            InputError: It does not exist, or is closed already.
            SettingsError: The audit log has no key.
        """
        with self._acting() as (connection, actions):
            now = self._clock.now_ms()
            return actions.close(connection, incident, fraud=fraud, who=who, note=note, now=now, via="command")

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
    """Yield the incidents of the settings' database.

    Raises:
        SettingsError: The URL is not one of a database that Vedette can use.
        StateError: The database does not answer, or belongs to a newer Vedette.
    """
    engine = open_database(settings.database)
    try:
        yield Incidents(engine, settings.audit, clock)
    finally:
        engine.dispose()
