"""Links that acknowledge an incident: signed, random, for one use, and without account data."""

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from random import Random

from sqlalchemy import Connection, insert, select, update

from alerts.tables import links
from vedette.clock import DAY
from vedette.settings_base import Secret

_RANDOM_BYTES = 18  # 144 bits; at least 128 are needed
_SIGNATURE_BYTES = 12
_LIFETIME_MS = 7 * DAY


@dataclass(frozen=True, slots=True)
class Linker:
    """Creates and verifies links.

    Args:
        base: Address of the page, without a slash at its end.
        key: Signs tokens, and hashes them for the database.
        random: An unpredictable source.
    """

    base: str
    key: Secret
    random: Random

    def make(self, connection: Connection, incident: int, recipient: str, now: int) -> str:
        """Return a new link for one recipient; only a keyed hash of its token is kept."""
        nonce = self.random.randbytes(_RANDOM_BYTES)
        token = urlsafe_b64encode(nonce + self._mac(b"sign", nonce)[:_SIGNATURE_BYTES]).decode()
        connection.execute(
            insert(links).values(
                token_hash=self._hash(token), incident_id=incident, recipient=recipient, expires_at=now + _LIFETIME_MS
            )
        )
        return f"{self.base}/incidents/{token}"

    def read(self, connection: Connection, token: str, now: int) -> tuple[int, str] | None:
        """Return the incident and recipient of a valid link; nothing changes."""
        if not self.signed(token):
            return None
        table = links.c
        query = select(table.incident_id, table.recipient).where(
            table.token_hash == self._hash(token), table.used_at.is_(None), table.expires_at > now
        )
        row = connection.execute(query).one_or_none()
        return (row.incident_id, row.recipient) if row else None

    def use(self, connection: Connection, token: str, now: int) -> tuple[int, str] | None:
        """Return the same and consume the link. Of two simultaneous calls, only one succeeds."""
        if not self.signed(token):
            return None
        table = links.c
        taken = (
            update(links)
            .where(table.token_hash == self._hash(token), table.used_at.is_(None), table.expires_at > now)
            .values(used_at=now)
            .returning(table.incident_id, table.recipient)
        )
        row = connection.execute(taken).one_or_none()
        return (row.incident_id, row.recipient) if row else None

    def signed(self, token: str) -> bool:
        """Return whether a token is of this linker; without the database, which strangers must not keep busy."""
        try:
            raw = urlsafe_b64decode(token.encode("ascii"))
        except ValueError:
            return False
        nonce, signature = raw[:_RANDOM_BYTES], raw[_RANDOM_BYTES:]
        return hmac.compare_digest(self._mac(b"sign", nonce)[:_SIGNATURE_BYTES], signature)

    def _hash(self, token: str) -> str:
        return self._mac(b"keep", token.encode()).hex()

    def _mac(self, purpose: bytes, value: bytes) -> bytes:
        return hmac.new(self.key.value.encode(), purpose + b"\n" + value, hashlib.sha256).digest()
