"""Stored records: one per challenge, one per account. Both have a version of their layout."""

from typing import Literal

import msgspec

from vedette.events import Action, ChallengeStatus

VERSION = 2

Factor = Literal["passkey", "totp", "sms"]
NotificationStatus = Literal["", "pending", "sending", "sent", "failed"]
"""Status of the message to the customer: no recipient, pending, possibly sent, sent, or failed."""


class Stored(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of stored records: immutable, so that every change is a new value to compare and set."""


class Passkey(Stored, frozen=True, kw_only=True):
    """A registered WebAuthn credential; both byte strings in base64url."""

    credential_id: str
    public_key: str
    sign_count: int
    added_at: int


class Account(Stored, frozen=True, kw_only=True):
    """The data of an account for challenging its holder.

    Attributes:
        epoch: Incremented when the account is reset or loses a factor. Sessions, links, pending secrets and SMS codes
            belong to the epoch in which they were created, and are invalid in a later one.
        totp: The app's secret, sealed by the keyring; empty without one.
        totp_step: The last step accepted; only later ones are (RFC 6238 5.2).
        phone: Verified, in E.164.
        recovery: Of each unused recovery code a keyed hash to find it by, a space, and an Argon2 hash.
        failures: Wrong answers since `failures_since`, over all challenges.
    """

    version: int = VERSION
    account_id: str
    epoch: int = 0
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
        """Return whether the holder can answer with a factor."""
        return bool({"passkey": self.passkeys, "totp": self.totp, "sms": self.phone}[factor])

    @property
    def factors(self) -> tuple[Factor, ...]:
        """Return the factors of the holder."""
        every: tuple[Factor, ...] = ("passkey", "totp", "sms")
        return tuple(factor for factor in every if self.enrolled(factor))


class Binding(Stored, frozen=True, kw_only=True):
    """The payment of a challenge, for which alone the answer is valid (dynamic linking, PSD2 RTS art. 5)."""

    transaction_id: str
    account_id: str
    amount: int
    currency: str
    payee: str


class ChallengeRecord(Stored, frozen=True, kw_only=True):
    """One challenge.

    Attributes:
        epoch: Epoch of the account when code and link in force were created.
        opened: Whether the customer has opened the page or answered, and so knows of the challenge.
        seal: Keyed hash of id and binding, made at the issue; a record edited since no longer fits it.
        factor: The factor requested first; empty if the account had none.
        using: The factor requested now, or used to approve.
        code: Keyed hash of the SMS code in force.
        link: Keyed hash of the link in force; empty once used.
        notification: Status of the message to the customer.
        sends: Number of messages begun; part of the reference by which an SMS is found again.
        decision: The decision it follows, as JSON; empty if the institution requested the challenge.
        action: Action of the final decision, once settled.
        cause: Reason why it was not approved.
        issued_by: The credential that requested it; empty for a decision.
        settled_by: Actor that settled it: `customer`, a credential, or, if empty, the service.
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
    notification: NotificationStatus = ""
    epoch: int = 0
    opened: bool = False
    sends: int = 0
    decision: str = ""
    action: Action | None = None
    cause: str = ""
    issued_by: str = ""
    settled_by: str = ""


def masked(account_id: str) -> str:
    """Return the end of an account id, which its holder recognises but which does not reveal it to others."""
    return f"…{account_id[-min(4, max(1, len(account_id) // 2)) :]}"
