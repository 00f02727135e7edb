"""The state machine of a challenge: every transition maps the stored values to their replacements.

All functions are pure. `store` replaces the old values by the new ones in one atomic step, unless either has changed
meanwhile; then the transition is repeated from the current values. So exactly one of any number of parallel answers
settles a challenge, and every guess that is verified is counted.
"""

from dataclasses import dataclass
from typing import Literal

import msgspec

from access.keyring import Entropy, Keyring
from challenges.codes import new_code, new_token, totp_step, typed
from challenges.passkeys import RelyingParty, assertion
from challenges.records import Account, Binding, ChallengeRecord, Factor, NotificationStatus
from vedette.challenge_ids import challenge_id_of
from vedette.clock import DAY, MINUTE
from vedette.events import Action, ChallengeStatus

replace = msgspec.structs.replace

ATTEMPTS = 5
"""Maximum number of wrong answers on one challenge; the fifth blocks it."""

ACCOUNT_FAILURES = 10
"""Maximum number of wrong answers on an account in FAILURE_WINDOW; then no answer is verified (RFC 4226 7.3)."""

FAILURE_WINDOW = DAY
LIFETIME = 5 * MINUTE

SENDS = 5
"""Maximum number of messages about one challenge."""

Result = Literal["approved", "wrong", "denied", "expired", "blocked", "over"]
"""Result of an answer; `over`: the challenge was already settled."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The institution's rules.

    Args:
        order: Accepted factors, the preferred one first.
        release: Largest amount by currency that is approved without an answer; minor units.
        party: Relying party for passkeys.
    """

    order: tuple[Factor, ...]
    release: dict[str, int]
    party: RelyingParty


@dataclass(frozen=True, slots=True)
class ChallengeAnswer:
    """An answer of the customer.

    Args:
        factor: The factor of the answer.
        value: The code, or the passkey's assertion as JSON.
        shown: Seal of the payment shown to the customer.
    """

    factor: Factor
    value: str
    shown: str


@dataclass(frozen=True, slots=True)
class State:
    """A challenge and its account, as stored."""

    record: ChallengeRecord
    account: Account


def seal_parts(challenge_id: str, binding: Binding) -> tuple[str | int, ...]:
    """Return the parts that a seal hashes."""
    return (challenge_id, binding.transaction_id, binding.account_id, binding.amount, binding.currency, binding.payee)


def new_record(
    binding: Binding, account: Account, *, decision: str, rules: Rules, keys: Keyring, now: int
) -> ChallengeRecord:
    """Return a challenge of a payment, to be answered with the account's first factor in the order.

    Without any factor it expires at once, as nobody could answer.
    """
    identifier = challenge_id_of(binding.account_id, binding.transaction_id)
    factor: Factor | None = next((preferred for preferred in rules.order if account.enrolled(preferred)), None)
    record = ChallengeRecord(
        challenge_id=identifier,
        binding=binding,
        seal=keys.hash("seal", *seal_parts(identifier, binding)),
        factor=factor or "",
        using=factor or "",
        issued_at=now,
        expires_at=now + LIFETIME,
        epoch=account.epoch,
        notification="pending" if factor and (account.phone or account.email) else "",
        decision=decision,
    )
    return record if factor else settle(record, "expired", rules, now, cause="no factor")


def settle(
    record: ChallengeRecord, status: ChallengeStatus, rules: Rules, now: int, cause: str = ""
) -> ChallengeRecord:
    """Return the settled challenge. Code and link are void."""
    return replace(
        record,
        status=status,
        settled_at=now,
        action=_action(record, status, rules),
        code="",
        link="",
        cause=cause,
    )


def _action(record: ChallengeRecord, status: ChallengeStatus, rules: Rules) -> Action:
    if status == "expired":  # released only if the customer could have objected
        limit = rules.release.get(record.binding.currency, -1) if reached(record) else -1
        return "approve" if record.binding.amount <= limit else "review"
    return "approve" if status == "approved" else "decline"


def reached(record: ChallengeRecord) -> bool:
    """Return whether the customer knows of the challenge, as far as the service can tell."""
    return record.opened or record.notification == "sent" or record.attempts > 0


def _too_late(record: ChallengeRecord, rules: Rules, now: int) -> ChallengeRecord:
    cause = "no answer" if reached(record) else "not notified"
    return settle(record, "expired", rules, now, cause=cause)


def attempt(state: State, answer: ChallengeAnswer, *, rules: Rules, keys: Keyring, now: int) -> tuple[Result, State]:
    """Verify an answer; return its result, and the new state."""
    record, account = state.record, state.account
    if record.status != "issued":
        return "over", state
    if now >= record.expires_at:
        return "expired", State(_too_late(record, rules, now), account)
    if cause := _void(state, answer.shown, keys, now):
        return "blocked", State(settle(record, "blocked", rules, now, cause=cause), account)
    proven = _prove(state, answer, rules=rules, keys=keys, now=now)
    if proven is not None:
        return "approved", State(settle(replace(record, using=answer.factor), "approved", rules, now), proven)
    account = failed(account, now)
    record = replace(record, attempts=record.attempts + 1)
    if record.attempts >= ATTEMPTS or locked(account, now):
        return "blocked", State(settle(record, "blocked", rules, now, cause="wrong answers"), account)
    return "wrong", State(record, account)


def _void(state: State, shown: str, keys: Keyring, now: int) -> str:
    """Return why no answer is verified; empty if it is."""
    record = state.record
    if not untouched(record, keys) or not keys.fits(shown, "seal", *seal_parts(record.challenge_id, record.binding)):
        return "changed"
    return "account locked" if locked(state.account, now) else ""


def deny(state: State, *, rules: Rules, now: int) -> tuple[Result, State]:
    """Deny the payment ("this was not me")."""
    if state.record.status != "issued":
        return "over", state
    return "denied", State(settle(state.record, "denied", rules, now, cause="denied"), state.account)


def expire(state: State, *, rules: Rules, now: int) -> tuple[Result, State]:
    """Expire the challenge."""
    if state.record.status != "issued" or now < state.record.expires_at:
        return "over", state
    return "expired", State(_too_late(state.record, rules, now), state.account)


def ask(state: State, factor: Factor, *, rules: Rules) -> State | None:
    """Ask for another factor, or for a new SMS; code and link in force are void at once. None if not possible."""
    record, account = state.record, state.account
    if record.status != "issued" or factor not in rules.order or not account.enrolled(factor):
        return None
    notification: NotificationStatus = "pending" if factor == "sms" else record.notification
    if notification == "pending" and record.sends >= SENDS:
        return None
    return State(replace(record, using=factor, notification=notification, code="", link=""), account)


@dataclass(frozen=True, slots=True)
class Secrets:
    """Plain-text secrets, which exist only while a message is written: a code (if required) and a link's token."""

    code: str
    token: str


def to_be_notified(record: ChallengeRecord) -> bool:
    """Return whether a message to the customer is due or possibly being sent."""
    return record.status == "issued" and record.notification in ("pending", "sending")


def begin_notification(state: State, *, keys: Keyring, entropy: Entropy) -> tuple[State, Secrets]:
    """Create a new code and link and put their hashes into force, before anything is sent."""
    record = state.record
    secrets = Secrets(code=new_code(entropy) if record.using == "sms" else "", token=new_token(entropy))
    parts = seal_parts(record.challenge_id, record.binding)
    record = replace(
        record,
        notification="sending",
        sends=record.sends + 1,
        epoch=state.account.epoch,
        code=keys.hash("code", secrets.code, *parts) if secrets.code else "",
        link=keys.hash("link", secrets.token),
    )
    return State(record, state.account), secrets


def new_link(state: State, *, keys: Keyring, entropy: Entropy) -> tuple[State, str] | None:
    """Put a new link in force; the one before is void. Return None once the challenge is settled."""
    if state.record.status != "issued":
        return None
    token = new_token(entropy)
    # A code of an earlier epoch must not come back into force with the new link.
    record = replace(state.record, link=keys.hash("link", token), epoch=state.account.epoch)
    return State(record if record.epoch == state.record.epoch else replace(record, code=""), state.account), token


def follow(state: State, token: str, *, keys: Keyring, now: int) -> State | None:
    """Consume the link; return None if it is not the one in force, or expired."""
    record = state.record
    if record.epoch != state.account.epoch:
        return None
    if now >= record.expires_at or not record.link or not keys.fits(record.link, "link", token):
        return None
    return State(replace(record, link="", opened=True), state.account)


def untouched(record: ChallengeRecord, keys: Keyring) -> bool:
    """Return whether the payment of the challenge is the one it was issued for."""
    return keys.fits(record.seal, "seal", *seal_parts(record.challenge_id, record.binding))


def locked(account: Account, now: int) -> bool:
    """Return whether an account has too many wrong answers, so that no answer is verified."""
    return account.failures >= ACCOUNT_FAILURES and now < account.failures_since + FAILURE_WINDOW


def forgiven(account: Account) -> Account:
    """Return the account with one wrong answer less, as an answer counted before its verification was correct."""
    return replace(account, failures=max(0, account.failures - 1))


def failed(account: Account, now: int) -> Account:
    """Return the account after one more wrong answer; a correct one in between does not reset the count."""
    if now >= account.failures_since + FAILURE_WINDOW:
        return replace(account, failures=1, failures_since=now)
    return replace(account, failures=account.failures + 1)


def prove(
    account: Account, factor: Factor, value: str, *, challenge: bytes, party: RelyingParty, keys: Keyring, now: int
) -> Account | None:
    """Return the account after a correct answer with its app or passkey, which consumes a step or count, or None."""
    if factor == "totp" and account.totp:
        secret = keys.unseal(account.totp, f"totp {account.account_id}")
        step = totp_step(secret, typed(value), now, account.totp_step)
        return None if step is None else replace(account, totp_step=step)
    if factor == "passkey" and account.passkeys:
        used = assertion(value, account.passkeys, challenge, party)
        return replace(account, passkeys=used) if used else None
    return None


def _prove(state: State, answer: ChallengeAnswer, *, rules: Rules, keys: Keyring, now: int) -> Account | None:
    record, account = state.record, state.account
    if answer.factor not in rules.order:
        return None
    if answer.factor == "sms":
        parts = (typed(answer.value), *seal_parts(record.challenge_id, record.binding))
        if record.epoch != account.epoch or not account.phone:
            return None
        return account if record.code and keys.fits(record.code, "code", *parts) else None
    return prove(
        account, answer.factor, answer.value,
        challenge=passkey_challenge(record), party=rules.party, keys=keys, now=now,
    )  # fmt: skip


def passkey_challenge(record: ChallengeRecord) -> bytes:
    """Return the challenge that a passkey signs: the seal, which covers amount, currency and payee."""
    return record.seal.encode()
