"""Links that acknowledge an incident: signed, random, for one use, and without a word about the account."""

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from random import Random

from sqlalchemy import Connection, insert, select, update

from alerts.database.tables import links
from vedette.clock import DAY
from vedette.settings import Secret

_RANDOM_BYTES = 18  # 144 bits; 128 are the least
_SIGNATURE_BYTES = 12
_LIFETIME_MS = 7 * DAY


@dataclass(frozen=True, slots=True)
class Linker:
    """Makes links and knows them again.

    Args:
        base: Address of the page, without a slash at its end.
        key: Signs tokens, and turns them into what the database keeps.
        random: A source that nobody can predict.
    """

    base: str
    key: Secret
    random: Random

    def make(self, connection: Connection, incident: int, recipient: str, now: int) -> str:
        """A new link for one recipient; of its token only a keyed hash is kept."""
        nonce = self.random.randbytes(_RANDOM_BYTES)
        token = urlsafe_b64encode(nonce + self._mac(b"sign", nonce)[:_SIGNATURE_BYTES]).decode()
        connection.execute(
            insert(links).values(
                token_hash=self._hash(token), incident_id=incident, recipient=recipient, expires_at=now + _LIFETIME_MS
            )
        )
        return f"{self.base}/incidents/{token}"

    def read(self, connection: Connection, token: str, now: int) -> tuple[int, str] | None:
        """The incident and recipient of a link that still works; nothing changes."""
        table = links.c
        query = select(table.incident_id, table.recipient).where(
            table.token_hash == self._hash(token), table.used_at.is_(None), table.expires_at > now
        )
        row = connection.execute(query).one_or_none() if self._is_signed(token) else None
        return (row.incident_id, row.recipient) if row else None

    def use(self, connection: Connection, token: str, now: int) -> tuple[int, str] | None:
        """Likewise, and the link works no more. Of two at the same moment one gets it."""
        if not self._is_signed(token):
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

    def _is_signed(self, token: str) -> bool:
        """Whether the token is ours, before the database is asked at all."""
        try:
            raw = urlsafe_b64decode(token.encode())
        except ValueError:
            return False
        nonce, signature = raw[:_RANDOM_BYTES], raw[_RANDOM_BYTES:]
        return hmac.compare_digest(self._mac(b"sign", nonce)[:_SIGNATURE_BYTES], signature)

    def _hash(self, token: str) -> str:
        return self._mac(b"keep", token.encode()).hex()

    def _mac(self, purpose: bytes, value: bytes) -> bytes:
        return hmac.new(self.key.value.encode(), purpose + b"\n" + value, hashlib.sha256).digest()
