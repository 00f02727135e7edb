"""Tokens that a browser keeps for a step of several requests, and that are good once."""

import base64
import hashlib

import msgspec
from sqlalchemy import Engine, delete, insert
from sqlalchemy.exc import IntegrityError

from access.keyring import Entropy, Keyring
from console.accounts.tables import used_tokens
from vedette.clock import MINUTE, Clock
from vedette.errors import StateError

LIFETIME = 10 * MINUTE


class _Content(msgspec.Struct, frozen=True, array_like=True):
    expires_at: int
    data: dict[str, str]


class OneTimeTokens:
    """Sealed tokens: the browser can neither read nor change them, and the database knows those that were used.

    Args:
        engine: The database.
        keyring: Seals them.
        clock: The clock.
        entropy: Source of unpredictable bytes.
    """

    def __init__(self, engine: Engine, keyring: Keyring, clock: Clock, entropy: Entropy) -> None:
        self._engine, self._keyring, self._clock, self._entropy = engine, keyring, clock, entropy

    def make(self, purpose: str, data: dict[str, str]) -> str:
        """Return a token for a purpose, good for ten minutes, in characters for cookies and forms."""
        content = msgspec.json.encode(_Content(self._clock.now_ms() + LIFETIME, data))
        return base64.urlsafe_b64encode(self._keyring.seal(content, _context(purpose), self._entropy).encode()).decode()

    def use(self, purpose: str, token: str) -> dict[str, str] | None:
        """Use up a token and return its data; None if it was changed, used before, or is too old."""
        now = self._clock.now_ms()
        try:
            sealed = base64.urlsafe_b64decode(token.encode()).decode()
            content = msgspec.json.decode(self._keyring.unseal(sealed, _context(purpose)), type=_Content)
        except (StateError, ValueError):  # the latter for text that is not base64, or too short
            return None
        if content.expires_at <= now:
            return None
        row = {"token_hash": hashlib.sha256(sealed.encode()).hexdigest(), "expires_at": content.expires_at}
        try:
            with self._engine.begin() as connection:
                connection.execute(delete(used_tokens).where(used_tokens.c.expires_at <= now))
                connection.execute(insert(used_tokens).values(row))
        except IntegrityError:
            return None
        return content.data


def _context(purpose: str) -> str:
    return f"console one-time {purpose}"
