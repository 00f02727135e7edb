"""Sessions of people: a cookie with a random token, whose hash is in the database until it ends or is idle too long."""

import hmac
from dataclasses import dataclass

from fastapi import Request, Response
from sqlalchemy import Engine, delete, insert, select, update

from access.keyring import Entropy
from challenges.codes import new_token
from console.accounts.tables import sessions, users
from console.accounts.users import User, token_hash, user_of
from vedette.clock import HOUR, MINUTE, SECOND, Clock

PROVEN_FOR = 5 * MINUTE
"""How long after a code no further one is asked for."""

_TOUCH = 30 * SECOND
"""Precision of the time of the last click: not every request writes to the database."""


@dataclass(frozen=True, slots=True)
class StaffVisit:
    """A request of a signed-in person."""

    user: User
    session: str
    """Hash of the cookie."""
    csrf: str
    """Value of every form, unknown to other sites."""
    proven_at: int


class StaffSessions:
    """The sessions of one database.

    Args:
        engine: The database.
        clock: The clock.
        entropy: Source of tokens.
        secure: Whether the pages are reached only by HTTPS.
        idle: Milliseconds without a click after which a session ends.
        lifetime: Milliseconds after which every session ends.
    """

    def __init__(
        self, engine: Engine, clock: Clock, entropy: Entropy, *, secure: bool, idle: int = 30 * MINUTE,
        lifetime: int = 12 * HOUR,
    ) -> None:  # fmt: skip
        self._engine, self._reading = engine, engine.execution_options(reads=True)
        self._clock, self._entropy, self._secure = clock, entropy, secure
        self._idle, self._lifetime = idle, lifetime
        # With this prefix browsers accept the cookie only by HTTPS, and only from this host (RFC 6265bis 4.1.3.2).
        self._cookie = "__Host-console" if secure else "console"

    def start(self, request: Request, response: Response, user: User, proven_at: int | None = None) -> None:
        """Begin a session under a new token; the browser's earlier one ends.

        Args:
            request: The request that signs in.
            response: Gets the cookie.
            user: Who signs in.
            proven_at: When they proved who they are, for steps that need it; None: now, 0: unknown.
        """
        now, token = self._clock.now_ms(), new_token(self._entropy)
        with self._engine.begin() as connection:
            stale = (sessions.c.began_at < now - self._lifetime) | (sessions.c.seen_at < now - self._idle)
            connection.execute(delete(sessions).where(stale))
            connection.execute(delete(sessions).where(sessions.c.token_hash == token_hash(self._token(request))))
            row = {"token_hash": token_hash(token), "user_id": user.id, "epoch": user.epoch}
            times = {"began_at": now, "seen_at": now, "proven_at": now if proven_at is None else proven_at}
            connection.execute(insert(sessions).values(row | times))
        # Lax, so that a link in an e-mail to the fraud team opens its case; what changes anything is a form, with CSRF.
        response.set_cookie(
            self._cookie, token, max_age=self._lifetime // SECOND, path="/", httponly=True, samesite="lax",
            secure=self._secure,
        )  # fmt: skip

    def of(self, request: Request, *, touch: bool) -> StaffVisit | None:
        """Return the visit of a request, if its session is in force.

        Args:
            request: The request.
            touch: Whether it is something that a person did, which keeps the session alive.
        """
        token, now = self._token(request), self._clock.now_ms()
        if not token:
            return None
        hashed = token_hash(token)
        query = (
            select(users, sessions.c.seen_at, sessions.c.proven_at)
            .join(sessions, sessions.c.user_id == users.c.id)
            .where(
                sessions.c.token_hash == hashed,
                sessions.c.epoch == users.c.epoch,
                sessions.c.seen_at > now - self._idle,
                sessions.c.began_at > now - self._lifetime,
                users.c.disabled_at.is_(None),
            )
        )
        with self._reading.connect() as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            return None
        if touch and row["seen_at"] < now - _TOUCH:
            with self._engine.begin() as connection:
                connection.execute(update(sessions).where(sessions.c.token_hash == hashed).values(seen_at=now))
        return StaffVisit(user_of(row), hashed, _csrf(token), row["proven_at"])

    def proven(self, visit: StaffVisit) -> bool:
        """Return whether a code was given lately."""
        return visit.proven_at > self._clock.now_ms() - PROVEN_FOR

    def prove(self, visit: StaffVisit) -> None:
        """Record that a code was given."""
        with self._engine.begin() as connection:
            own = sessions.c.token_hash == visit.session
            connection.execute(update(sessions).where(own).values(proven_at=self._clock.now_ms()))

    def end(self, visit: StaffVisit, response: Response) -> None:
        """End a session."""
        with self._engine.begin() as connection:
            connection.execute(delete(sessions).where(sessions.c.token_hash == visit.session))
        response.delete_cookie(self._cookie, path="/", httponly=True, samesite="lax", secure=self._secure)

    def _token(self, request: Request) -> str:
        return request.cookies.get(self._cookie, "")


def fits_csrf(visit: StaffVisit, given: str) -> bool:
    """Return whether a form belongs to a page of this session."""
    return hmac.compare_digest(visit.csrf.encode(), given.encode("utf-8", "replace"))


def _csrf(token: str) -> str:
    return hmac.new(token.encode("utf-8", "replace"), b"console form", "sha256").hexdigest()
