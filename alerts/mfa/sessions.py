"""Sessions: a cookie with a random token, and what the service remembers of it until it ends."""

import re
from dataclasses import dataclass
from typing import Literal

import msgspec
from fastapi import HTTPException, Request, Response

from alerts.mfa.codes import new_token
from alerts.mfa.keyring import Entropy, Keyring
from alerts.mfa.store import Store
from vedette.clock import MINUTE, SECOND

LIFETIME = 15 * MINUTE

Kind = Literal["challenge", "enrolment", "call", "desk"]
_TOKEN = re.compile(r"[A-Za-z0-9_-]{32}")


class Session(msgspec.Struct, frozen=True):
    """What a cookie stands for.

    Args:
        subject: Id of the challenge, of the account, or of the representative's credential.
        proven: Whether the holder has proven to be one, or has nothing yet to prove it with.
    """

    subject: str
    proven: bool = False


@dataclass(frozen=True, slots=True)
class Visit:
    """A request with a session in force."""

    token: str
    session: Session
    csrf: str
    """What every form carries, and no other site knows."""

    @property
    def challenge(self) -> bytes:
        """What passkeys sign in this session; no other site knows it, either."""
        return self.csrf.encode()


class Sessions:
    """Sessions of one kind.

    Args:
        kind: Which pages they are for.
        store: Where they are.
        keys: The keyring: what is stored is a keyed hash of the cookie.
        entropy: Gives unpredictable bytes.
        secure: Whether the pages are reached by HTTPS alone.
        lifetime: Milliseconds.
    """

    def __init__(
        self, kind: Kind, store: Store, keys: Keyring, entropy: Entropy, *, secure: bool, lifetime: int = LIFETIME
    ) -> None:
        self._store = store
        self._keys = keys
        self._entropy = entropy
        self._secure = secure
        self._lifetime = lifetime
        self._purpose = f"{kind} session"
        # With this prefix browsers take the cookie only by HTTPS, and from this very host (RFC 6265bis 4.1.3.2).
        self._cookie = f"{'__Host-' if secure else ''}{kind}"

    def start(self, response: Response, session: Session) -> None:
        """Begin a session: the response brings its cookie."""
        token = new_token(self._entropy)
        self._keep(token, session)
        response.set_cookie(
            self._cookie, token, max_age=self._lifetime // SECOND, path="/", httponly=True, samesite="strict",
            secure=self._secure,
        )  # fmt: skip

    def of(self, request: Request) -> Visit | None:
        """The request's session, if it has one in force."""
        token = request.cookies.get(self._cookie, "")
        if not _TOKEN.fullmatch(token):
            return None
        for name in self._keys.fingerprints(self._purpose, token):
            if (found := self._store.recall("s", name)) is not None:
                session = msgspec.json.decode(found, type=Session)
                return Visit(token, session, self._keys.hash("csrf", token))
        return None

    def check(self, visit: Visit | None, csrf: str) -> Visit:
        """The visit, if the form is one of our own pages'.

        Raises:
            HTTPException: 403.
        """
        if visit is None or not self._keys.fits(csrf, "csrf", visit.token):
            raise HTTPException(403, "this form has expired")
        return visit

    def update(self, visit: Visit, session: Session) -> None:
        """Remember something else of a session."""
        self._keep(visit.token, session)

    def end(self, visit: Visit) -> None:
        """Forget a session."""
        for name in self._keys.fingerprints(self._purpose, visit.token):
            self._store.drop("s", name)

    def _keep(self, token: str, session: Session) -> None:
        name = self._keys.hash(self._purpose, token)
        self._store.remember("s", name, msgspec.json.encode(session).decode(), self._lifetime)
