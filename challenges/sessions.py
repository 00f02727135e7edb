"""Sessions: a cookie with a random token, and its stored data until it ends."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import msgspec
from fastapi import HTTPException, Request, Response

from access.keyring import Entropy, Keyring
from challenges.codes import new_token
from challenges.store import ChallengeStore
from vedette.clock import MINUTE, SECOND

LIFETIME = 15 * MINUTE

SessionKind = Literal["challenge", "enrolment", "call", "desk"]
_TOKEN = re.compile(r"[A-Za-z0-9_-]{32}")


class Session(msgspec.Struct, frozen=True):
    """The data of a session.

    Args:
        subject: Id of the challenge, of the account, or of the representative's credential.
        epoch: Epoch of the account when the session began, or when it last changed the account.
        proven: Whether the holder has proven a factor in this session.
        maker: Id of the credential that created the link of the session; empty if there was none.
    """

    subject: str
    epoch: int = 0
    proven: bool = False
    maker: str = ""


InForce = Callable[[Session], bool]
"""Checks whether a session is still valid: its account is in the same epoch, its credential not revoked."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A request with a session in force."""

    token: str
    session: Session
    csrf: str
    """Token of every form, unknown to other sites."""

    @property
    def challenge(self) -> bytes:
        """Return the challenge that passkeys sign in this session, unknown to other sites."""
        return self.csrf.encode()


class Sessions:
    """Sessions of one kind.

    Args:
        kind: Kind of the pages.
        store: Store of the sessions.
        keys: The keyring: only a keyed hash of the cookie is stored.
        entropy: Source of unpredictable bytes.
        secure: Whether the pages are reached only by HTTPS.
        in_force: Called at every request, and at every read of a stream.
        lifetime: Lifetime in milliseconds.
    """

    def __init__(
        self, kind: SessionKind, store: ChallengeStore, keys: Keyring, entropy: Entropy, *, secure: bool,
        in_force: InForce, lifetime: int = LIFETIME,
    ) -> None:  # fmt: skip
        self._store = store
        self._keys = keys
        self._entropy = entropy
        self._secure = secure
        self._in_force = in_force
        self._lifetime = lifetime
        self._purpose = f"{kind} session"
        # With this prefix browsers accept the cookie only by HTTPS, and only from this host (RFC 6265bis 4.1.3.2).
        self._cookie = f"{'__Host-' if secure else ''}{kind}"

    def start(self, response: Response, session: Session) -> None:
        """Begin a session: the response sets its cookie."""
        token = new_token(self._entropy)
        self._keep(token, session)
        response.set_cookie(
            self._cookie, token, max_age=self._lifetime // SECOND, path="/", httponly=True, samesite="strict",
            secure=self._secure,
        )  # fmt: skip

    def of(self, request: Request) -> Visit | None:
        """Return the request's session, if it has one in force."""
        token = request.cookies.get(self._cookie, "")
        if not _TOKEN.fullmatch(token):
            return None
        for name in self._keys.fingerprints(self._purpose, token):
            if (found := self._store.recall("s", name)) is not None:
                session = msgspec.json.decode(found, type=Session)
                if not self._in_force(session):
                    return None
                return Visit(token, session, self._keys.hash("csrf", token))
        return None

    def checked(self, request: Request, csrf: str) -> Visit:
        """Return the request's session, if the form belongs to one of its pages.

        Raises:
            HTTPException: 403.
        """
        visit = self.of(request)
        if visit is None or not self._keys.fits(csrf, "csrf", visit.token):
            raise HTTPException(403, "this form has expired")
        return visit

    def update(self, visit: Visit, session: Session) -> Visit:
        """Update the data of a session."""
        self._keep(visit.token, session)
        return Visit(visit.token, session, visit.csrf)

    def end(self, visit: Visit) -> None:
        """Delete a session."""
        for name in self._keys.fingerprints(self._purpose, visit.token):
            self._store.drop("s", name)

    def _keep(self, token: str, session: Session) -> None:
        name = self._keys.hash(self._purpose, token)
        self._store.remember("s", name, msgspec.json.encode(session).decode(), self._lifetime)
