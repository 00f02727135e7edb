"""Incidents for people who work on them one after another: queue, claims, decisions that can be undone, notes.

Each call is one transaction. What a person does is in the audit log before it is committed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec
from sqlalchemy import Connection, Engine

from access.audit import Audit
from adapters.database import database_errors
from alerts.incidents import queue, store, work
from alerts.incidents.actions import Actions
from alerts.incidents.incident import OPEN, HistoryEntry, Incident
from alerts.incidents.queue import Queue, QueueFilter
from alerts.incidents.work import ClaimedError, IncidentClaim, Note
from vedette.clock import MINUTE, Clock
from vedette.errors import InputError
from vedette.events import Alert

_CANDIDATES = 25
"""Incidents that are tried, one after another, for somebody who asks for the next."""


class CaseDetail(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the database has about one incident.

    Attributes:
        viewers: Who has its page open.
        undo_until: Until when its closing can be undone, ms since 1970 UTC; None: it cannot be.
    """

    incident: Incident
    currency: str
    alerts: list[Alert]
    history: list[HistoryEntry]
    notes: list[Note]
    claim: IncidentClaim | None
    viewers: list[str]
    undo_until: int | None


class BulkResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of incidents that were to be closed together."""

    closed: list[Incident]
    skipped: dict[int, str]
    """The reason for each that was not closed."""


class IncidentDesk:
    """The incidents of one database.

    Args:
        engine: The database.
        audit: The audit log.
        clock: The clock.
        claim_ms: Milliseconds after which a claim lapses unless it is extended.
    """

    def __init__(self, engine: Engine, audit: Audit, clock: Clock, claim_ms: int = 10 * MINUTE) -> None:
        self._engine, self._actions, self._clock, self._claim_ms = engine, Actions(audit), clock, claim_ms

    def queue(self, wanted: QueueFilter, who: str, *, limit: int, offset: int = 0) -> Queue:
        """Return a page of the queue."""
        with self._transaction(reads=True) as connection:
            return queue.read(connection, wanted, who, self._clock.now_ms(), limit=limit, offset=offset)

    def arrivals(self, after: int) -> tuple[int, int]:
        """Return how many open incidents are newer than a number, and their expected loss together."""
        with self._transaction(reads=True) as connection:
            return queue.arrivals(connection, after)

    def show(self, incident: int) -> CaseDetail:
        """Return an incident.

        Raises:
            InputError: It does not exist.
        """
        now = self._clock.now_ms()
        with self._transaction(reads=True) as connection:
            found = store.get(connection, incident)
            history = store.history_of(connection, incident)
            closed = next((e for e in reversed(history) if e.state in ("confirmed", "false_alarm")), None)
            undo_until = closed.at + store.UNDO if closed and found.state == closed.state else 0
            return CaseDetail(
                incident=found,
                currency=store.ranking_currency(connection),
                alerts=store.alerts_of(connection, incident),
                history=history,
                notes=work.notes_of(connection, incident),
                claim=work.claims_of(connection, [incident], now).get(incident) if found.state in OPEN else None,
                viewers=work.viewers_of(connection, incident, now),
                undo_until=undo_until if undo_until > now and store.held(connection, incident) else None,
            )

    def look(self, incident: int, who: str) -> tuple[IncidentClaim | None, list[str]]:
        """Record that somebody has an incident's page open, which extends their claim; return claim and viewers.

        Raises:
            InputError: It does not exist.
        """
        now = self._clock.now_ms()
        with self._transaction() as connection:
            store.get(connection, incident)
            work.look(connection, incident, who, now)
            work.extend(connection, incident, who, now, self._claim_ms)
            return work.claims_of(connection, [incident], now).get(incident), work.viewers_of(connection, incident, now)

    def claim(self, incident: int, who: str) -> Incident:
        """IncidentClaim an incident, which acknowledges it.

        Raises:
            ClaimedError: Somebody else works on it.
            InputError: It does not exist, or is closed.
        """
        with self._transaction() as connection:
            return self._claim(connection, incident, who)

    def claim_next(self, wanted: QueueFilter, who: str) -> Incident | None:
        """IncidentClaim the first incident of the queue that nobody works on; None if there is none."""
        now = self._clock.now_ms()
        free = msgspec.structs.replace(wanted, standing="open", holder="nobody")
        with self._transaction(reads=True) as connection:
            candidates = queue.numbers_in(connection, free, who, now, limit=_CANDIDATES)
        for number in candidates:
            try:
                return self.claim(number, who)
            except InputError:  # somebody was quicker
                continue
        return None

    def release(self, incident: int, who: str) -> None:
        """Give up one's claim."""
        with self._transaction() as connection:
            work.release(connection, incident, who)

    def close(self, incident: int, *, fraud: bool, who: str, note: str = "") -> Incident:
        """Confirm an incident as fraud, or dismiss it; for a minute, `undo` takes it back.

        Raises:
            ClaimedError: Somebody else works on it.
            InputError: It does not exist, or is closed already.
        """
        with self._transaction() as connection:
            return self._close(connection, incident, fraud=fraud, who=who, note=note)

    def close_many(self, numbers: Sequence[int], *, fraud: bool, who: str, note: str) -> BulkResult:
        """Close incidents together; those that somebody else works on, or that are closed, are skipped."""
        closed: list[Incident] = []
        skipped: dict[int, str] = {}
        with self._transaction() as connection:
            for number in dict.fromkeys(numbers):
                try:
                    closed.append(self._close(connection, number, fraud=fraud, who=who, note=note))
                except InputError as error:
                    skipped[number] = str(error.args[0])
        return BulkResult(closed=closed, skipped=skipped)

    def undo(self, incident: int, who: str) -> Incident:
        """Take back one's own decision of the last minute; the incident is one's own again.

        Raises:
            InputError: See `store.reopen`.
        """
        now = self._clock.now_ms()
        with self._transaction() as connection:
            opened = self._actions.reopen(connection, incident, who=who, now=now, via="console")
            work.claim(connection, incident, who, now, self._claim_ms)
            return opened

    def note(self, incident: int, *, who: str, text: str) -> None:
        """Add a note.

        Raises:
            InputError: The incident does not exist, or the note is empty or too long.
        """
        with self._transaction() as connection:
            store.get(connection, incident)
            self._actions.note(connection, incident, who=who, text=text, now=self._clock.now_ms(), via="console")

    def _claim(self, connection: Connection, incident: int, who: str) -> Incident:
        now = self._clock.now_ms()
        work.claim(connection, incident, who, now, self._claim_ms)
        found = store.get(connection, incident)
        if found.state == "acknowledged" and found.owner == who:
            return found
        return self._actions.acknowledge(connection, incident, who, "", now, "console")

    def _close(self, connection: Connection, incident: int, *, fraud: bool, who: str, note: str) -> Incident:
        now = self._clock.now_ms()
        work.claim(connection, incident, who, now, self._claim_ms)
        closed = self._actions.close(
            connection, incident, fraud=fraud, who=who, note=note, now=now, via="console", hold=store.HOLD
        )
        work.release(connection, incident, who)
        return closed

    @contextmanager
    def _transaction(self, *, reads: bool = False) -> Iterator[Connection]:
        with database_errors(self._engine.url.render_as_string()), self._engine.connect() as connection:
            connection.execution_options(reads=reads)
            with connection.begin():
                yield connection


__all__ = ["BulkResult", "CaseDetail", "ClaimedError", "IncidentDesk"]
