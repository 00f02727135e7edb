"""What the service remembers: one record per challenge, one per account. Both carry a version of their layout."""

import base64
import hashlib
import zlib
from typing import Literal

import msgspec

from vedette.events import Action, ChallengeStatus

VERSION = 1
SHARDS = 16
"""An account and its challenges share one of so many hash tags, so that one atomic step can write both."""

Factor = Literal["passkey", "totp", "sms"]
Told = Literal["", "pending", "sending", "sent", "failed"]
"""Whether the customer has been told by SMS: nobody to tell, to be told, perhaps told, told, not to be reached."""


class Stored(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of what is stored: immutable, so that every change is a new value to compare and set."""


class Passkey(Stored, frozen=True, kw_only=True):
    """A registered WebAuthn credential; both byte strings in base64url."""

    credential_id: str
    public_key: str
    sign_count: int
    added_at: int


class Account(Stored, frozen=True, kw_only=True):
    """What is known of an account for challenging its holder.

    Attributes:
        totp: The app's secret, sealed by the keyring; empty without one.
        totp_step: The last step accepted; only later ones are (RFC 6238 5.2).
        phone: Verified, in E.164.
        recovery: Argon2 hashes of the recovery codes not used yet.
        failures: Wrong answers since `failures_since`, over all challenges.
    """

    version: int = VERSION
    account_id: str
    language: str = "en"
    email: str = ""
    phone: str = ""
    totp: str = ""
    totp_step: int = 0
    passkeys: tuple[Passkey, ...] = ()
    recovery: tuple[str, ...] = ()
    failures: int = 0
    failures_since: int = 0

    def enrolled(self, factor: Factor) -> bool:
        """Whether the holder can answer with a factor."""
        return bool({"passkey": self.passkeys, "totp": self.totp, "sms": self.phone}[factor])

    @property
    def factors(self) -> tuple[Factor, ...]:
        """All that the holder can answer with."""
        every: tuple[Factor, ...] = ("passkey", "totp", "sms")
        return tuple(factor for factor in every if self.enrolled(factor))


class Binding(Stored, frozen=True, kw_only=True):
    """What a challenge is about, and all its answer is good for (dynamic linking, PSD2 RTS art. 5)."""

    transaction_id: str
    account_id: str
    amount: int
    currency: str
    payee: str


class Record(Stored, frozen=True, kw_only=True):
    """One challenge.

    Attributes:
        seal: Keyed hash of id and binding, made at the issue; a record edited since no longer fits it.
        factor: What was asked for first; empty when the account had none.
        using: What is asked for now, or was used to approve.
        code: Keyed hash of the SMS code in force.
        link: Keyed hash of the link in force; empty once used.
        sends: How often the customer was to be told; part of the reference by which an SMS is found again.
        decision: The decision it follows, as JSON; empty when the institution asked for the challenge itself.
        action: What the final decision says, once settled.
        cause: Why it was not approved.
    """

    version: int = VERSION
    challenge_id: str
    binding: Binding
    seal: str
    status: ChallengeStatus = "issued"
    factor: Factor | Literal[""] = ""
    using: Factor | Literal[""] = ""
    issued_at: int
    expires_at: int
    settled_at: int | None = None
    attempts: int = 0
    code: str = ""
    link: str = ""
    told: Told = ""
    sends: int = 0
    decision: str = ""
    action: Action | None = None
    cause: str = ""


def shard_of(account_id: str) -> int:
    """The hash tag of an account."""
    return zlib.crc32(account_id.encode()) % SHARDS


def challenge_id_of(account_id: str, transaction_id: str) -> str:
    """The id of a transaction's challenge: always the same, so that one asked for twice is recognised.

    Its first digit is the account's hash tag; the rest is a hash (120 bits) and says nothing of the account.
    """
    digest = hashlib.sha256(b"challenge\0" + msgspec.json.encode([account_id, transaction_id])).digest()
    return f"{shard_of(account_id):x}" + base64.b32encode(digest[:15]).decode().lower()
