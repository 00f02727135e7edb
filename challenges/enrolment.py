"""Enrolment: adding, changing and removing the factors of an account. Changing a factor requires a factor."""

import base64
import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from access.keyring import Entropy, Keyring
from access.ports import CUSTOMER, AuditSink
from access.rate_limit import RateLimit, RateLimiter
from challenges import codes, passkeys, recovery, state_machine
from challenges.compare_and_set import ResultT, update
from challenges.passkeys import RelyingParty
from challenges.records import Account, Factor
from challenges.state_machine import replace
from challenges.store import ChallengeStore
from vedette.clock import HOUR, MINUTE, Clock
from vedette.errors import InputError

E164 = re.compile(r"\+[1-9][0-9]{6,14}")
PENDING_MS = 10 * MINUTE

Proof = Literal["totp", "passkey", "recovery", "sms"]
SendCode = Callable[[Account, str, str, str], bool]
"""Sends the holder a code by SMS (number, code, message reference); returns whether it may have been sent."""

_CONFIRMATIONS = RateLimit("confirm", 5, PENDING_MS)
_RECOVERY_SETS = RateLimit("recovery", 5, HOUR)
_PASSKEY_LIMIT = 10


class UnprovenError(InputError):
    """The requester has not proven to be the holder, or the account has changed since."""


class TooOftenError(InputError):
    """The rate limit of the account is exceeded."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The requester of a change of an account, and their right to it.

    Args:
        account_id: The account.
        epoch: Epoch of the account when the right was granted; a later one revokes it.
        proven: Whether a factor was proven. Without one, only an account that has none may be changed.
        actor: For the audit log: `customer`, or the credential that acts.
    """

    account_id: str
    epoch: int
    proven: bool
    actor: str = CUSTOMER

    def may_change(self, account: Account) -> bool:
        """Return whether the current account may be changed."""
        return account.epoch == self.epoch and (self.proven or not account.factors)


@dataclass(frozen=True, slots=True)
class Enrolment:
    """Factors of accounts.

    Args:
        store: Store of the accounts.
        keys: The keyring.
        party: Relying party for passkeys.
        limiter: Counts confirmations.
        send_code: Sends a code to a number that is to be verified.
        clock: The clock.
        entropy: Source of unpredictable bytes.
        audit: Records every change.
    """

    store: ChallengeStore
    keys: Keyring
    party: RelyingParty
    limiter: RateLimiter
    send_code: SendCode
    clock: Clock
    entropy: Entropy
    audit: AuditSink

    def account(self, account_id: str) -> Account:
        """Return an account; an unknown one has no factors."""
        return self.store.account(account_id)

    def trusted(self, account_id: str, actor: str) -> Holder:
        """Return the right of a requester without proof: the operator, or the institution for a proven change."""
        return Holder(account_id, self.account(account_id).epoch, proven=True, actor=actor)

    def begun(self, account_id: str, what: Literal["totp", "phone"], actor: str) -> Holder:
        """Return the right of whoever confirms a change: that with which it was begun, proven or not."""
        account = self.account(account_id)
        proven = self.store.recall("p", self._pending(f"{what} right", account)) == "proven"
        return Holder(account_id, account.epoch, proven=proven, actor=actor)

    def prove(self, account_id: str, kind: Proof, value: str, challenge: bytes = b"", *, actor: str = CUSTOMER) -> bool:
        """Return whether this proves the holder.

        A proof is a valid code of the app, a passkey over `challenge`, a recovery code (which is consumed) or, if the
        phone is the only factor, a code sent to it. Wrong ones count like wrong answers to challenges, and each is
        counted before it is verified.
        """

        def count(before: Account) -> tuple[Account | None, bool]:
            now = self.clock.now_ms()
            return (None, False) if state_machine.locked(before, now) else (state_machine.failed(before, now), True)

        if not self._update(account_id, count):
            return False
        proven = self._used_up(account_id, kind, value, challenge)
        self.audit.record(
            f"holder.{'proven' if proven else 'wrong'}", f"account:{account_id}", {"by": kind}, actor=actor
        )
        return proven

    def send_proof(self, account_id: str) -> bool:
        """Send a code to the phone, if it is the account's only factor."""
        account = self.account(account_id)
        if account.factors != ("sms",):
            return False
        return self._send(account, account.phone, "proof")

    def begin_totp(self, holder: Holder) -> tuple[str, str, str]:
        """Return a new secret for an authenticator app, to be confirmed.

        Returns:
            The otpauth URI, the secret in base32, and the name of the app's new entry.

        Raises:
            UnprovenError: The holder may not change the account.
        """
        account = self._changeable(holder)
        secret = codes.new_secret(self.entropy)
        sealed = self.keys.seal(secret, self._context(account), self.entropy)
        self.store.remember("p", self._pending("totp", account), sealed, PENDING_MS)
        self._remember_right("totp", account, holder)
        label = codes.app_label(self.party.name, self.entropy)
        return codes.otpauth_uri(secret, label, self.party.name), base64.b32encode(secret).decode(), label

    def confirm_totp(self, holder: Holder, code: str) -> Holder | None:
        """Activate the new secret if the code is correct; it replaces the previous app.

        Returns:
            See Enrolment.remove; None if the code is wrong, or too late.

        Raises:
            UnprovenError: The holder may not change the account.
        """
        account = self._changeable(holder)
        sealed = self.store.recall("p", self._pending("totp", account))
        if sealed is None or not self._may_confirm(account.account_id):
            return None
        secret = self.keys.unseal(sealed, self._context(account))
        step = codes.totp_step(secret, codes.typed(code), self.clock.now_ms(), 0)
        if step is None or self.store.drop("p", self._pending("totp", account)) != sealed:
            return None
        kept = self.keys.seal(secret, f"totp {account.account_id}", self.entropy)
        return self._change(holder, "totp", lambda before: replace(_without(before, "totp"), totp=kept, totp_step=step))

    def begin_phone(self, holder: Holder, phone: str) -> bool:
        """Send a code to a number; return whether it may have been sent.

        Raises:
            InputError: The number is not in E.164.
            UnprovenError: The holder may not change the account.
        """
        if not E164.fullmatch(phone):
            raise _bad_number()
        account = self._changeable(holder)
        self._remember_right("phone", account, holder)
        return self._send(account, phone, "phone")

    def confirm_phone(self, holder: Holder, code: str) -> Holder | None:
        """Activate the number if the code is correct; it replaces the previous number.

        Returns:
            See Enrolment.remove; None if the code is wrong, or too late.

        Raises:
            UnprovenError: The holder may not change the account.
        """
        phone = self._confirmed(self._changeable(holder), "phone", code)
        if phone is None:
            return None
        return self._change(holder, "sms", lambda before: replace(_without(before, "sms"), phone=phone))

    def vouch(self, holder: Holder, *, phone: str = "", email: str = "", language: str = "") -> None:
        """Import contact data that the institution has verified; empty fields stay unchanged.

        Raises:
            InputError: The number is not in E.164.
            UnprovenError: A number is given, and the holder may not change the account.
        """
        if phone and not E164.fullmatch(phone):
            raise _bad_number()
        given = {"email": email, "language": language}
        changes: dict[str, Any] = {name: value for name, value in given.items() if value}
        if phone:

            def moved(before: Account) -> Account:
                kept = before if before.phone == phone else _without(before, "sms")
                return replace(kept, phone=phone, **changes)

            self._change(holder, "contact", moved)
            return
        self._update(holder.account_id, lambda before: (replace(before, **changes), True))
        self._note("contact", holder.account_id, holder.actor)

    def passkey_options(self, account: Account, challenge: bytes) -> dict[str, Any]:
        """Return the options for navigator.credentials.create()."""
        return passkeys.creation_options(account.passkeys, self.entropy(32), challenge, self.party)

    def proof_options(self, account: Account, challenge: bytes) -> dict[str, Any]:
        """Return the options for navigator.credentials.get()."""
        return passkeys.request_options(account.passkeys, challenge, self.party)

    def add_passkey(self, holder: Holder, credential: str, challenge: bytes) -> Holder | None:
        """Add a passkey if its registration verifies and its key can be used.

        Returns:
            See Enrolment.remove; None if the passkey is not added.

        Raises:
            UnprovenError: The holder may not change the account.
        """
        self._changeable(holder)
        made = passkeys.registration(credential, challenge, self.party, self.clock.now_ms())
        if made is None:
            return None

        def added(account: Account) -> Account | None:
            known = account.passkeys
            if len(known) >= _PASSKEY_LIMIT or made.credential_id in [passkey.credential_id for passkey in known]:
                return None
            return replace(account, passkeys=(*known, made))

        return self._change(holder, "passkey", added)

    def remove(self, holder: Holder, factor: Factor) -> Holder | None:
        """Remove a factor: the app, the number, or all passkeys. A new epoch begins.

        Returns:
            The holder's right to continue in the epoch that the change has begun.

        Raises:
            UnprovenError: The holder may not change the account.
        """
        return self._change(holder, f"{factor} removed", lambda account: _without(account, factor))

    def reset(self, account_id: str, *, actor: str = "") -> None:
        """Remove everything, for a holder who lost all factors and was identified again. A new epoch begins.

        Everything that was opened, sent or begun before becomes invalid.
        """

        def emptied(before: Account) -> tuple[Account, bool]:
            after = Account(account_id=account_id, epoch=before.epoch + 1, language=before.language, email=before.email)
            return after, True

        self._update(account_id, emptied)
        self._note("reset", account_id, actor)

    def new_recovery_codes(self, holder: Holder) -> list[str]:
        """Return ten new recovery codes (50 bits each), shown only once; previous ones are void.

        Raises:
            UnprovenError: The holder may not change the account.
            TooOftenError: Too many sets were created in the last hour.
        """
        self._changeable(holder)
        if not self.limiter.allows(_RECOVERY_SETS, holder.account_id, self.clock.now_ms()):
            raise TooOftenError("recovery codes were made too often", remedy="try again in an hour")
        shown, stored = recovery.new_codes(holder.account_id, self.keys, self.entropy)
        self._change(holder, "recovery", lambda account: replace(account, recovery=stored))
        return shown

    def rotate(self, account_id: str) -> bool:
        """Seal the app's secret with the current key; return False if it already is, or there is none."""

        def sealed_again(before: Account) -> tuple[Account | None, bool]:
            if not before.totp or before.totp.startswith(f"{self.keys.current}:"):
                return None, False
            context = f"totp {account_id}"
            sealed = self.keys.seal(self.keys.unseal(before.totp, context), context, self.entropy)
            return replace(before, totp=sealed), True

        return self._update(account_id, sealed_again)

    def _used_up(self, account_id: str, kind: Proof, value: str, challenge: bytes) -> bool:
        """Verify a proof that has been counted as wrong; a correct one is consumed, and its count reversed."""
        account = self.account(account_id)
        entry = recovery.matching(account, value, self.keys) if kind == "recovery" else None
        phone = ""
        if kind == "sms" and account.factors == ("sms",):
            phone = self._confirmed(account, "proof", value) or ""

        def verified(before: Account) -> tuple[Account | None, bool]:
            if kind == "recovery":
                rest = tuple(stored for stored in before.recovery if stored != entry)
                after = replace(before, recovery=rest) if entry in before.recovery else None
            elif kind == "sms":
                after = before if phone and phone == before.phone and before.epoch == account.epoch else None
            else:
                after = state_machine.prove(
                    before, kind, value, challenge=challenge, party=self.party, keys=self.keys, now=self.clock.now_ms()
                )
            return (state_machine.forgiven(after), True) if after else (None, False)

        return self._update(account_id, verified)

    def _send(self, account: Account, phone: str, what: str) -> bool:
        code = codes.new_code(self.entropy)
        hashed = self.keys.hash(what, account.account_id, phone, code)
        self.store.remember("p", self._pending(what, account), f"{phone} {hashed}", PENDING_MS)
        return self.send_code(account, phone, code, f"{what}/{account.account_id}/{self.clock.now_ms()}")

    def _confirmed(self, account: Account, what: str, code: str) -> str | None:
        """Return the number to which a correct code was sent; the code is consumed."""
        name = self._pending(what, account)
        pending = self.store.recall("p", name)
        if pending is None or not self._may_confirm(account.account_id):
            return None
        phone, _, hashed = pending.partition(" ")
        if not self.keys.fits(hashed, what, account.account_id, phone, codes.typed(code)):
            return None
        return phone if self.store.drop("p", name) == pending else None

    def _may_confirm(self, account_id: str) -> bool:
        return self.limiter.allows(_CONFIRMATIONS, account_id, self.clock.now_ms())

    def _remember_right(self, what: str, account: Account, holder: Holder) -> None:
        right = "proven" if holder.proven else "first"
        self.store.remember("p", self._pending(f"{what} right", account), right, PENDING_MS)

    def _pending(self, what: str, account: Account) -> str:
        return f"{what}:{account.epoch}:{account.account_id}"

    def _context(self, account: Account) -> str:
        return f"pending {account.epoch} {account.account_id}"

    def _changeable(self, holder: Holder) -> Account:
        account = self.account(holder.account_id)
        if not holder.may_change(account):
            raise UnprovenError("changing a factor needs a factor")
        return account

    def _change(self, holder: Holder, what: str, change: Callable[[Account], Account | None]) -> Holder | None:
        """Change an account, unless `change` returns None for its current state."""

        def step(before: Account) -> tuple[Account | None, Account | None]:
            if not holder.may_change(before):
                raise UnprovenError("changing a factor needs a factor")
            after = change(before)
            return after, after

        after = self._update(holder.account_id, step)
        if after is None:
            return None
        self._note(what, holder.account_id, holder.actor)
        return dataclasses.replace(holder, epoch=after.epoch, proven=True)

    def _update(self, account_id: str, step: Callable[[Account], tuple[Account | None, ResultT]]) -> ResultT:
        return update(lambda: self.account(account_id), step, self.store.replace_account, "the account")

    def _note(self, what: str, account_id: str, actor: str) -> None:
        self.audit.record("enrolment.changed", f"account:{account_id}", {"what": what}, actor=actor)


def _without(account: Account, factor: Factor) -> Account:
    """Return the account without a factor; in a new epoch, if it had it."""
    if not account.enrolled(factor):
        return account
    empty: dict[Factor, dict[str, Any]] = {
        "totp": {"totp": "", "totp_step": 0}, "sms": {"phone": ""}, "passkey": {"passkeys": ()},
    }  # fmt: skip
    return replace(account, epoch=account.epoch + 1, **empty[factor])


def _bad_number() -> InputError:
    return InputError("the phone number is not in E.164", remedy="write it like +34600000001")
