"""The key under which identifiers are hashed, so that nobody can find a device or an account by trying names.

Each kind of identifier has a key of its own, derived from the deployment's, so the same text as merchant and as device
gives unrelated hashes.
"""

from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

from vedette.errors import SettingsError
from vedette.settings import IdentitySettings

VERSION = 1
"""Version of the scheme: SipHash-2-4 under keys derived by BLAKE2b."""
SHORTEST_KEY = 32
"""Least characters of a deployment's key."""
KINDS = (
    "transaction_id", "account_id", "merchant_id", "mcc", "device_id", "country", "payee", "ip_address",
)  # fmt: skip

_PERSON = b"vedette-identity"


@dataclass(frozen=True, repr=False)
class Identity:
    """A deployment's key.

    Args:
        secret: The key as text; empty: identifiers are hashed under a key that everybody knows.
    """

    secret: str = ""

    @cached_property
    def keys(self) -> dict[str, tuple[int, int]]:
        """The two 64-bit halves of the key for each of KINDS."""
        return {kind: self._derived(kind) for kind in KINDS}

    @cached_property
    def fingerprint(self) -> int:
        """A positive 63-bit number that says under which version and key a state was written."""
        return self._derived("fingerprint")[0] >> 1 | 1

    def _derived(self, purpose: str) -> tuple[int, int]:
        key = blake2b(self.secret.encode(), digest_size=32, person=_PERSON).digest()
        digest = blake2b(f"{VERSION} {purpose}".encode(), digest_size=16, key=key, person=_PERSON).digest()
        return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


OPEN = Identity()
"""Under no secret: for what is computed and never kept, such as the features of a file."""


def identity_of(settings: IdentitySettings) -> Identity:
    """Return the deployment's key; without one, OPEN.

    Raises:
        SettingsError: The key is too short, or its file cannot be read.
    """
    if settings.key is None:
        return OPEN
    secret = settings.key.value
    if len(secret) < SHORTEST_KEY:
        raise SettingsError(
            f"[identity] key has {len(secret)} characters, fewer than {SHORTEST_KEY}",
            remedy="`vedette identity keygen` makes one",
        )
    return Identity(secret)
