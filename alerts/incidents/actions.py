"""Actions of people on incidents by command, link or message: each is in the audit log before it is committed."""

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection

from access.audit import Audit
from alerts.incidents import store, work
from alerts.incidents.incident import Incident

Via = Literal["command", "console", "link", "sms", "whatsapp"]


@dataclass(frozen=True, slots=True)
class Actions:
    """Actions of people, in the caller's transaction.

    An action that cannot be recorded is not committed. If the process ends between the record and the commit, the log
    has an action that was not performed; the incident's history has only those that were performed.

    Args:
        audit: The audit log.
    """

    audit: Audit

    def acknowledge(self, connection: Connection, incident: int, who: str, note: str, now: int, via: Via) -> Incident:
        """Acknowledge an incident; see `store.acknowledge`."""
        taken = store.acknowledge(connection, incident, who, note, now)
        self._record("acknowledged", taken, who, note, via)
        return taken

    def close(
        self, connection: Connection, incident: int, *, fraud: bool, who: str, note: str, now: int, via: Via,
        hold: int = 0,
    ) -> Incident:  # fmt: skip
        """Confirm an incident as fraud, or dismiss it; see `store.close`."""
        closed = store.close(connection, incident, fraud=fraud, who=who, note=note, now=now, hold=hold)
        self._record("confirmed" if fraud else "dismissed", closed, who, note, via)
        return closed

    def reopen(self, connection: Connection, incident: int, *, who: str, now: int, via: Via) -> Incident:
        """Undo the closing of an incident; see `store.reopen`."""
        opened = store.reopen(connection, incident, who=who, now=now)
        self._record("reopened", opened, who, "", via)
        return opened

    def note(self, connection: Connection, incident: int, *, who: str, text: str, now: int, via: Via) -> None:
        """Add a note; its text is in the database, not in the log."""
        work.add_note(connection, incident, who, text, now)
        self._record("noted", store.get(connection, incident), who, "", via)

    def _record(self, step: str, incident: Incident, who: str, note: str, via: Via) -> None:
        details = {"account": incident.account_id, "way": via} | ({"note": note} if note else {})
        self.audit.record(f"incident.{step}", f"incident:{incident.id}", details, actor=who)
