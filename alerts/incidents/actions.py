"""What people do to incidents, whichever way it comes: each step is in the audit log before it is committed."""

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection

from alerts.audit import Audit
from alerts.incidents import store
from alerts.incidents.incident import Incident

Way = Literal["command", "link", "sms", "whatsapp"]


@dataclass(frozen=True, slots=True)
class Actions:
    """Steps of people, in their caller's transaction.

    A step that cannot be recorded is not committed. The process ending between the record and the commit leaves a
    record of a step that was tried; the incident's history has only those that were taken.

    Args:
        audit: Where they are recorded.
    """

    audit: Audit

    def acknowledge(self, connection: Connection, incident: int, who: str, note: str, now: int, way: Way) -> Incident:
        """Take an incident on; see `store.acknowledge`."""
        taken = store.acknowledge(connection, incident, who, note, now)
        self._record("acknowledged", taken, who, note, way)
        return taken

    def close(
        self, connection: Connection, incident: int, *, fraud: bool, who: str, note: str, now: int, way: Way
    ) -> Incident:  # fmt: skip
        """Confirm an incident as fraud, or dismiss it; see `store.close`."""
        closed = store.close(connection, incident, fraud=fraud, who=who, note=note, now=now)
        self._record("confirmed" if fraud else "dismissed", closed, who, note, way)
        return closed

    def _record(self, step: str, incident: Incident, who: str, note: str, way: Way) -> None:
        details = {"account": incident.account_id, "way": way} | ({"note": note} if note else {})
        self.audit.record(f"incident.{step}", f"incident:{incident.id}", details, actor=who)
