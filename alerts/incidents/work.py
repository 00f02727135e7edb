"""Who works on incidents: claims, viewers and notes. Every function works in its caller's transaction."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, delete, insert, or_, select

from adapters.database import insert_into
from alerts.incidents.incident import OPEN, state_name
from alerts.tables import incident_claims, incident_notes, incident_viewers, incidents
from vedette.clock import SECOND
from vedette.errors import InputError

VIEWING = 30 * SECOND
"""How long after its last sign of life a page counts as open."""

LONGEST_NOTE = 4000
"""Characters of a note."""


class ClaimedError(InputError):
    """Somebody else works on the incident."""

    def __init__(self, incident: int, who: str) -> None:
        super().__init__(f"{who} works on incident {incident}", remedy="take another one, or wait")
        self.who = who


class IncidentClaim(msgspec.Struct, frozen=True):
    """Who works on an incident, since when, and until when without a sign of life. ms since 1970 UTC."""

    who: str
    since: int
    expires_at: int


class Note(msgspec.Struct, frozen=True):
    """What somebody wrote about an incident."""

    at: int
    who: str
    text: str


def claim(connection: Connection, incident: int, who: str, now: int, lapse: int) -> None:
    """IncidentClaim an open incident, or extend one's own claim. Of several people at once, one succeeds.

    Args:
        connection: In a transaction.
        incident: Its number.
        who: Who claims it.
        now: Milliseconds since 1970 UTC.
        lapse: Milliseconds after which the claim lapses unless it is extended.

    Raises:
        ClaimedError: Somebody else works on it.
        InputError: It does not exist, or is closed.
    """
    state = connection.scalar(select(incidents.c.state).where(incidents.c.id == incident).with_for_update())
    if state not in OPEN:
        known = f"is {state_name(state)}" if state else "does not exist"
        raise InputError(f"incident {incident} {known}, so nobody can claim it")
    table = incident_claims.c
    wanted = insert_into(connection, incident_claims).values(
        incident_id=incident, who=who, since=now, expires_at=now + lapse
    )
    statement = wanted.on_conflict_do_update(
        index_elements=[table.incident_id],
        set_={"who": who, "since": now, "expires_at": now + lapse},
        where=or_(table.expires_at <= now, table.who == who),
    ).returning(table.incident_id)
    if connection.execute(statement).first() is None:
        raise ClaimedError(incident, connection.scalar(select(table.who).where(table.incident_id == incident)) or "")


def extend(connection: Connection, incident: int, who: str, now: int, lapse: int) -> None:
    """Extend a claim that is still in force; do nothing if there is none of this person."""
    table = incident_claims
    own = (table.c.incident_id == incident, table.c.who == who, table.c.expires_at > now)
    connection.execute(table.update().where(*own).values(expires_at=now + lapse))


def release(connection: Connection, incident: int, who: str) -> None:
    """Give up one's claim."""
    own = (incident_claims.c.incident_id == incident, incident_claims.c.who == who)
    connection.execute(delete(incident_claims).where(*own))


def claims_of(connection: Connection, numbers: Sequence[int], now: int) -> dict[int, IncidentClaim]:
    """Return the claims in force of these incidents."""
    table = incident_claims.c
    query = select(incident_claims).where(table.incident_id.in_(numbers), table.expires_at > now)
    return {row.incident_id: IncidentClaim(row.who, row.since, row.expires_at) for row in connection.execute(query)}


def look(connection: Connection, incident: int, who: str, now: int) -> None:
    """Record that somebody has the page of an incident open."""
    table = incident_viewers.c
    seen = insert_into(connection, incident_viewers).values(incident_id=incident, who=who, seen_at=now)
    connection.execute(seen.on_conflict_do_update(index_elements=[table.incident_id, table.who], set_={"seen_at": now}))


def viewers_of(connection: Connection, incident: int, now: int) -> list[str]:
    """Return who has the page of an incident open."""
    table = incident_viewers.c
    query = select(table.who).where(table.incident_id == incident, table.seen_at > now - VIEWING)
    return list(connection.scalars(query.order_by(table.who)))


def add_note(connection: Connection, incident: int, who: str, text: str, now: int) -> None:
    """Add a note.

    Raises:
        InputError: It is empty or too long.
    """
    if not 0 < len(text.strip()) <= LONGEST_NOTE or "\0" in text:
        raise InputError(f"a note has 1 to {LONGEST_NOTE} characters")
    row = {"incident_id": incident, "at": now, "who": who, "text": text.strip()}
    connection.execute(insert(incident_notes).values(row))


def notes_of(connection: Connection, incident: int) -> list[Note]:
    """Return the notes of an incident, oldest first."""
    table = incident_notes.c
    query = select(table.at, table.who, table.text).where(table.incident_id == incident).order_by(table.id)
    return [Note(*row) for row in connection.execute(query)]
