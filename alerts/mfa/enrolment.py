"""Enrolment: how an account gets, changes and loses what its holder answers with. Changing a factor needs a factor."""

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from alerts.mfa import codes, engine, passkeys
from alerts.mfa.keyring import Entropy, Keyring
from alerts.mfa.limits import Limit, Limiter
from alerts.mfa.passkeys import Party
from alerts.mfa.ports import Audit
from alerts.mfa.records import Account, Factor
from alerts.mfa.store import Store
from vedette.clock import MINUTE, Clock
from vedette.errors import InputError, UnavailableError

E164 = re.compile(r"\+[1-9][0-9]{6,14}")
RECOVERY_CODES = 10
PENDING_MS = 10 * MINUTE

Proof = Literal["totp", "passkey", "recovery", "sms"]
SendCode = Callable[[Account, str, str, str], bool]
"""Sends an account's holder a code by SMS (number, code, a name for the message); whether it may have gone."""

_CONFIRMATIONS = Limit("confirm", 5, PENDING_MS)
_CONFLICTS = 100
_MOST_PASSKEYS = 10
_hasher = PasswordHasher()  # argon2id with the library's defaults (RFC 9106, second recommended option)


@dataclass(frozen=True, slots=True)
class Enrolment:
    """Factors of accounts.

    Args:
        store: Where accounts are.
        keys: The keyring.
        party: Who the institution is to passkeys.
        limiter: Counts confirmations.
        send_code: Sends a code to a number that is to be verified.
        clock: Tells the time.
        entropy: Gives unpredictable bytes.
        audit: Is told of every change.
    """

    store: Store
    keys: Keyring
    party: Party
    limiter: Limiter
    send_code: SendCode
    clock: Clock
    entropy: Entropy
    audit: Audit

    def account(self, account_id: str) -> Account:
        """An account; one never heard of has no factors."""
        return self.store.account(account_id)

    def prove(self, account_id: str, kind: Proof, value: str, challenge: bytes = b"") -> bool:
        """Whether this proves the holder.

        Proof is a right code of the app, a passkey over `challenge`, a recovery code (used up by it) or, where the
        phone is all there is, a code sent to it. Wrong ones count as wrong answers to challenges do.
        """
        for _ in range(_CONFLICTS):
            before, now = self.account(account_id), self.clock.now_ms()
            if engine.locked(before, now):
                return False
            after = self._proven(before, kind, value, challenge, now)
            if self._replaced(before, after or engine.failed(before, now)):
                self.audit.record("holder.proven" if after else "holder.wrong", account_id, {"by": kind})
                return after is not None
        raise _contended(account_id)

    def send_proof(self, account_id: str) -> bool:
        """Send a code to the phone, where that is all the account has."""
        account = self.account(account_id)
        if account.factors != ("sms",):
            return False
        return self._send(account, account.phone, "proof")

    def begin_totp(self, account_id: str) -> tuple[str, str]:
        """A new secret for an authenticator app, to be confirmed: the otpauth URI and the secret in base32."""
        secret = codes.new_secret(self.entropy)
        sealed = self.keys.seal(secret, f"pending {account_id}", self.entropy)
        self.store.remember("p", f"totp:{account_id}", sealed, PENDING_MS)
        encoded = base64.b32encode(secret).decode()
        # The label of an app's entry is shown on lock screens and synchronised elsewhere: no account in it.
        return codes.app_of(secret).provisioning_uri(name=self.party.name, issuer_name=self.party.name), encoded

    def confirm_totp(self, account_id: str, code: str) -> bool:
        """Take the new secret into use if the app shows the right code; it replaces the app before."""
        sealed = self.store.recall("p", f"totp:{account_id}")
        if sealed is None or not self._may_confirm(account_id):
            return False
        secret = self.keys.unseal(sealed, f"pending {account_id}")
        step = codes.totp_step(secret, codes.typed(code), self.clock.now_ms(), 0)
        if step is None:
            return False
        kept = self.keys.seal(secret, f"totp {account_id}", self.entropy)
        self._change(account_id, "totp", lambda account: engine.replace(account, totp=kept, totp_step=step))
        self.store.drop("p", f"totp:{account_id}")
        return True

    def begin_phone(self, account_id: str, phone: str) -> bool:
        """Send a code to a number; whether it may have gone.

        Raises:
            InputError: The number is not in E.164.
        """
        if not E164.fullmatch(phone):
            raise InputError(f"{phone!r} is not in E.164", remedy="write it like +34600000001")
        return self._send(self.account(account_id), phone, "phone")

    def confirm_phone(self, account_id: str, code: str) -> bool:
        """Take the number into use if the code is right; it replaces the number before."""
        phone = self._confirmed(account_id, "phone", code)
        if phone is None:
            return False
        self._change(account_id, "sms", lambda account: engine.replace(account, phone=phone))
        return True

    def vouch(self, account_id: str, *, phone: str = "", email: str = "", language: str = "") -> None:
        """Take over what the institution has verified itself; what is empty stays as it is.

        Raises:
            InputError: The number is not in E.164.
        """
        if phone and not E164.fullmatch(phone):
            raise InputError(f"{phone!r} is not in E.164", remedy="write it like +34600000001")
        given = {"phone": phone, "email": email, "language": language}
        changes: dict[str, Any] = {name: value for name, value in given.items() if value}
        self._change(account_id, "contact", lambda account: engine.replace(account, **changes))

    def passkey_options(self, account_id: str, challenge: bytes) -> dict[str, Any]:
        """For navigator.credentials.create()."""
        return passkeys.creation_options(self.account(account_id).passkeys, self.entropy(32), challenge, self.party)

    def proof_options(self, account_id: str, challenge: bytes) -> dict[str, Any]:
        """For navigator.credentials.get()."""
        return passkeys.request_options(self.account(account_id).passkeys, challenge, self.party)

    def add_passkey(self, account_id: str, credential: str, challenge: bytes) -> bool:
        """Add a passkey if its registration verifies."""
        made = passkeys.registration(credential, challenge, self.party, self.clock.now_ms())
        if made is None:
            return False

        def added(account: Account) -> Account | None:
            known = account.passkeys
            if len(known) >= _MOST_PASSKEYS or made.credential_id in [each.credential_id for each in known]:
                return None
            return engine.replace(account, passkeys=(*known, made))

        return self._change(account_id, "passkey", added)

    def remove(self, account_id: str, factor: Factor) -> None:
        """Take a factor away: the app, the number, or all passkeys."""
        empty: dict[Factor, dict[str, Any]] = {
            "totp": {"totp": "", "totp_step": 0}, "sms": {"phone": ""}, "passkey": {"passkeys": ()},
        }  # fmt: skip
        self._change(account_id, f"{factor} removed", lambda account: engine.replace(account, **empty[factor]))

    def reset(self, account_id: str) -> None:
        """Take everything away, for a holder who lost all factors and whom the institution has identified anew."""
        self._change(
            account_id,
            "reset",
            lambda account: Account(account_id=account_id, language=account.language, email=account.email),
        )

    def new_recovery_codes(self, account_id: str) -> list[str]:
        """Ten new recovery codes (50 bits each), shown this once; those before are void."""
        made = [base64.b32encode(self.entropy(10)).decode()[:10].lower() for _ in range(RECOVERY_CODES)]
        hashes = tuple(_hasher.hash(code) for code in made)
        self._change(account_id, "recovery", lambda account: engine.replace(account, recovery=hashes))
        return [f"{code[:5]}-{code[5:]}" for code in made]

    def rotate(self, account_id: str) -> bool:
        """Seal the app's secret with the current key; False if it is already, or there is none."""
        for _ in range(_CONFLICTS):
            before = self.account(account_id)
            if not before.totp or before.totp.startswith(f"{self.keys.current}:"):
                return False
            context = f"totp {account_id}"
            sealed = self.keys.seal(self.keys.unseal(before.totp, context), context, self.entropy)
            if self._replaced(before, engine.replace(before, totp=sealed)):
                return True
        raise _contended(account_id)

    def _proven(self, account: Account, kind: Proof, value: str, challenge: bytes, now: int) -> Account | None:
        if kind == "recovery":
            return _without(account, codes.typed(value).lower())
        if kind == "sms":
            phone = self._confirmed(account.account_id, "proof", value) if account.factors == ("sms",) else None
            return account if phone and phone == account.phone else None
        return engine.prove(account, kind, value, challenge=challenge, party=self.party, keys=self.keys, now=now)

    def _send(self, account: Account, phone: str, what: str) -> bool:
        code = codes.new_code(self.entropy)
        hashed = self.keys.hash(what, account.account_id, phone, code)
        self.store.remember("p", f"{what}:{account.account_id}", f"{phone} {hashed}", PENDING_MS)
        name = f"{what}/{account.account_id}/{self.clock.now_ms()}"
        return self.send_code(account, phone, code, name)

    def _confirmed(self, account_id: str, what: str, code: str) -> str | None:
        """The number that a right code was sent to; the code is used up."""
        pending = self.store.recall("p", f"{what}:{account_id}")
        if pending is None or not self._may_confirm(account_id):
            return None
        phone, _, hashed = pending.partition(" ")
        if not self.keys.fits(hashed, what, account_id, phone, codes.typed(code)):
            return None
        return phone if self.store.drop("p", f"{what}:{account_id}") == pending else None

    def _may_confirm(self, account_id: str) -> bool:
        return self.limiter.allows(_CONFIRMATIONS, account_id, self.clock.now_ms())

    def _change(self, account_id: str, what: str, change: Callable[[Account], Account | None]) -> bool:
        """Change an account, unless `change` gives None for what it has become meanwhile."""
        for _ in range(_CONFLICTS):
            before = self.account(account_id)
            after = change(before)
            if after is None:
                return False
            if self._replaced(before, after):
                self.audit.record("enrolment.changed", account_id, {"what": what})
                return True
        raise _contended(account_id)

    def _replaced(self, before: Account, after: Account) -> bool:
        return after == before or self.store.replace_account(before, after)


def _without(account: Account, code: str) -> Account | None:
    """The account with a recovery code used up, or None if the code is none of its."""
    for hashed in account.recovery:
        try:
            _hasher.verify(hashed, code)
        except VerifyMismatchError:
            continue
        return engine.replace(account, recovery=tuple(each for each in account.recovery if each != hashed))
    return None


def _contended(account_id: str) -> UnavailableError:
    del account_id  # it may be read by a customer
    return UnavailableError("the account changes too fast to take a step")
