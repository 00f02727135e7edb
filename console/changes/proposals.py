"""Proposals: a person drafts and submits a change, another one puts it into force or refuses it.

Nobody decides about their own proposal. What was approved is what the approver saw: a decision names the revision.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import msgspec
from sqlalchemy import ColumnElement, Connection, Engine, and_, insert, or_, select, update

from access.ports import AuditSink
from console.changes.tables import proposals
from vedette.clock import MINUTE, Clock
from vedette.errors import InputError

Kind = Literal["policy", "models"]
State = Literal["draft", "submitted", "applying", "in_force", "refused", "discarded"]

LONGEST_REASON = 500
_STUCK = MINUTE
"""How long a change may take; after that another try may begin, as the process may have ended in between."""


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """A proposed change. Times are milliseconds since 1970 UTC.

    Attributes:
        id: Its number.
        kind: What it changes.
        state: How far it has come.
        author: Who proposes it.
        content: The change as JSON.
        reason: Why.
        revision: Grows with every change of content or state.
        created_at: When it began.
        changed_at: When content or state changed last.
        decided_by: Who put it into force or refused it.
        decided_at: When.
        answer: Why it was refused.
        before: What was in force before, as JSON.
    """

    id: int
    kind: Kind
    state: State
    author: str
    content: str
    reason: str
    revision: int
    created_at: int
    changed_at: int
    decided_by: str
    decided_at: int | None
    answer: str
    before: str


class Proposals:
    """The proposals of one kind; every step is in the audit log before it is committed.

    Args:
        engine: The database.
        audit: The audit log.
        clock: The clock.
        kind: The kind.
    """

    def __init__(self, engine: Engine, audit: AuditSink, clock: Clock, kind: Kind) -> None:
        self._engine, self._reading = engine, engine.execution_options(reads=True)
        self._audit, self._clock, self._kind = audit, clock, kind

    def latest(self, limit: int = 50) -> list[Proposal]:
        """Return the latest proposals but discarded ones, the newest first."""
        query = (
            select(proposals)
            .where(proposals.c.kind == self._kind, proposals.c.state != "discarded")
            .order_by(proposals.c.changed_at.desc(), proposals.c.id.desc())
            .limit(limit)
        )
        with self._reading.connect() as connection:
            return [Proposal(**row) for row in connection.execute(query).mappings()]

    def find(self, number: int) -> Proposal:
        """Return a proposal.

        Raises:
            InputError: There is none of this number.
        """
        with self._reading.connect() as connection:
            return self._find(connection, number)

    def draft(self, who: str, content: str) -> Proposal:
        """Begin a proposal."""
        return self._new(who, content, "", "draft")

    def propose(self, who: str, content: str, reason: str) -> Proposal:
        """Begin a proposal and submit it at once.

        Raises:
            InputError: The reason is missing or too long.
        """
        return self._new(who, content, _reason(reason), "submitted")

    def edit(self, number: int, who: str, content: str, revision: int) -> Proposal:
        """Change the content of one's own draft.

        Raises:
            InputError: It is not a draft of this person, or has been changed meanwhile.
        """
        return self._step(number, who, "edited", revision, own=True, was=("draft",), now={"content": content})

    def submit(self, number: int, who: str, reason: str, revision: int) -> Proposal:
        """Ask for the decision of another person.

        Raises:
            InputError: It is not a draft of this person, has been changed meanwhile, or the reason is missing.
        """
        now = {"state": "submitted", "reason": _reason(reason)}
        return self._step(number, who, "submitted", revision, own=True, was=("draft",), now=now)

    def withdraw(self, number: int, who: str, revision: int) -> Proposal:
        """Make a draft of one's own submitted or refused proposal again.

        Raises:
            InputError: It is not submitted or refused, or not of this person.
        """
        now = {"state": "draft", "decided_by": "", "decided_at": None, "answer": ""}
        return self._step(number, who, "withdrawn", revision, own=True, was=("submitted", "refused"), now=now)

    def discard(self, number: int, who: str, revision: int) -> Proposal:
        """Discard one's own proposal that is not in force.

        Raises:
            InputError: It is in force, or not of this person.
        """
        was: tuple[State, ...] = ("draft", "submitted", "refused")
        return self._step(number, who, "discarded", revision, own=True, was=was, now={"state": "discarded"})

    def refuse(self, number: int, who: str, reason: str, revision: int) -> Proposal:
        """Refuse somebody else's proposal.

        Raises:
            InputError: It is not submitted, is one's own, has been changed meanwhile, or the reason is missing.
        """
        now = {"state": "refused", "decided_by": who, "decided_at": self._clock.now_ms(), "answer": _reason(reason)}
        return self._step(number, who, "refused", revision, own=False, was=("submitted",), now=now)

    def approve(self, number: int, who: str, revision: int, apply: Callable[[Proposal], str]) -> Proposal:
        """Put somebody else's proposal into force; of two at the same moment, one does.

        Args:
            number: The proposal.
            who: Who approves.
            revision: The revision that this person has seen.
            apply: Puts it into force, and returns what was in force before, as JSON. If it fails, the proposal is
                submitted as before. It may be called again if the process ends in between.

        Raises:
            InputError: It is not submitted, is one's own, or has been changed meanwhile.
        """
        now = self._clock.now_ms()
        claimed = {"state": "applying", "decided_by": who, "decided_at": now}
        taken = self._step(number, who, "approved", revision, own=False, was=("submitted",), now=claimed)
        try:
            before = apply(taken)
        except BaseException:
            undone = {"state": "submitted", "decided_by": "", "decided_at": None}
            self._step(number, who, "not-applied", taken.revision, own=False, was=("applying",), now=undone)
            raise
        done = {"state": "in_force", "before": before}
        return self._step(number, who, "in-force", taken.revision, own=False, was=("applying",), now=done)

    def _new(self, who: str, content: str, reason: str, state: State) -> Proposal:
        now = self._clock.now_ms()
        row = {"kind": self._kind, "state": state, "author": who, "content": content, "reason": reason}
        with self._engine.begin() as connection:
            made = connection.execute(
                insert(proposals).values(**row, created_at=now, changed_at=now).returning(proposals.c.id)
            ).scalar_one()
            self._record("drafted" if state == "draft" else state, made, who, {"reason": reason} if reason else {})
            return self._find(connection, made)

    def _step(
        self, number: int, who: str, act: str, revision: int, *, own: bool, was: tuple[State, ...],
        now: Mapping[str, object],
    ) -> Proposal:  # fmt: skip
        at, table = self._clock.now_ms(), proposals.c
        stands: ColumnElement[bool] = table.state.in_(was)
        if was == ("submitted",) and not own:
            stands = or_(stands, and_(table.state == "applying", table.decided_at < at - _STUCK))
        changes = {**now, "changed_at": at, "revision": revision + 1}
        with self._engine.begin() as connection:
            found = self._find(connection, number)
            if (found.author == who) != own:
                raise InputError("somebody else decides about a proposal" if not own else "this is not your proposal")
            changed = connection.execute(
                update(proposals)
                .where(table.id == number, table.kind == self._kind, table.revision == revision, stands)
                .values(**changes)
            )
            if not changed.rowcount:
                raise InputError(f"the proposal has been changed meanwhile, and is {found.state} now")
            details = {key: str(now[key]) for key in ("reason", "answer") if now.get(key)}
            self._record(act, number, who, {"revision": str(revision), **details})
            return self._find(connection, number)

    def _find(self, connection: Connection, number: int) -> Proposal:
        query = select(proposals).where(proposals.c.id == number, proposals.c.kind == self._kind)
        row = connection.execute(query).mappings().first()
        if row is None:
            raise InputError(f"there is no proposal {number}")
        return Proposal(**row)

    def _record(self, act: str, number: int, who: str, details: dict[str, str]) -> None:
        self._audit.record(f"{self._kind}.{act}", f"proposal:{number}", details, actor=who)


def _reason(text: str) -> str:
    text = text.replace("\0", "").strip()
    if not 0 < len(text) <= LONGEST_REASON:
        raise InputError(f"a proposal needs a reason of at most {LONGEST_REASON} characters")
    return text
