"""What may happen to a challenge: every step takes what is stored and gives what shall be stored instead.

Nothing here reads or writes anything. `store` puts the new values in place of the old ones in one atomic step, or not
at all if either has changed meanwhile; then the step is taken again from what is there now. So of any number of
parallel answers exactly one settles a challenge, and no guess is judged that is not counted.
"""

from dataclasses import dataclass
from typing import Literal

import msgspec

from alerts.mfa.codes import new_code, new_token, totp_step, typed
from alerts.mfa.keyring import Entropy, Keyring
from alerts.mfa.passkeys import Party, assertion
from alerts.mfa.records import Account, Binding, Factor, Record, Told, challenge_id_of
from vedette.clock import DAY, MINUTE
from vedette.events import Action, ChallengeStatus

replace = msgspec.structs.replace

ATTEMPTS = 5
"""Wrong answers on one challenge; the fifth blocks it."""

ACCOUNT_FAILURES = 10
"""Wrong answers on all challenges of an account in FAILURE_WINDOW; after them no answer is judged (RFC 4226 7.3)."""

FAILURE_WINDOW = DAY
LIFETIME = 5 * MINUTE

SENDS = 5
"""How often the customer of one challenge is told at most."""

Result = Literal["approved", "wrong", "denied", "expired", "blocked", "over"]
"""What became of an answer; `over`: the challenge had been settled before."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The institution's own choices.

    Args:
        order: Factors it accepts, the preferred one first.
        release: By currency, the largest amount let through when nobody answers; minor units.
        party: Who it is to passkeys.
    """

    order: tuple[Factor, ...]
    release: dict[str, int]
    party: Party


@dataclass(frozen=True, slots=True)
class Answer:
    """What the customer answered.

    Args:
        factor: What it is an answer with.
        value: The code, or the passkey's assertion as JSON.
        shown: Seal of what the customer saw when answering.
    """

    factor: Factor
    value: str
    shown: str


@dataclass(frozen=True, slots=True)
class State:
    """A challenge and its account, as they are stored."""

    record: Record
    account: Account


def seal_parts(challenge_id: str, binding: Binding) -> tuple[str | int, ...]:
    """What a seal is the hash of."""
    return (challenge_id, binding.transaction_id, binding.account_id, binding.amount, binding.currency, binding.payee)


def new_record(binding: Binding, account: Account, *, decision: str, rules: Rules, keys: Keyring, now: int) -> Record:
    """A challenge about a payment, to be answered with the first factor of the order that the account has.

    Without any it is expired at once: nobody could answer.
    """
    identifier = challenge_id_of(binding.account_id, binding.transaction_id)
    factor: Factor | None = next((each for each in rules.order if account.enrolled(each)), None)
    record = Record(
        challenge_id=identifier,
        binding=binding,
        seal=keys.hash("seal", *seal_parts(identifier, binding)),
        factor=factor or "",
        using=factor or "",
        issued_at=now,
        expires_at=now + LIFETIME,
        told="pending" if factor and (account.phone or account.email) else "",
        decision=decision,
    )
    return record if factor else settle(record, "expired", rules, now, cause="no factor")


def settle(record: Record, status: ChallengeStatus, rules: Rules, now: int, cause: str = "") -> Record:
    """The challenge at its end. Code and link are void from here on."""
    return replace(
        record,
        status=status,
        settled_at=now,
        action=_action(record.binding, status, rules),
        code="",
        link="",
        cause=cause,
    )


def _action(binding: Binding, status: ChallengeStatus, rules: Rules) -> Action:
    if status == "expired":
        return "approve" if binding.amount <= rules.release.get(binding.currency, -1) else "review"
    return "approve" if status == "approved" else "decline"


def attempt(state: State, answer: Answer, *, rules: Rules, keys: Keyring, now: int) -> tuple[Result, State]:
    """Judge an answer: what became of it, and what shall be stored."""
    record, account = state.record, state.account
    if record.status != "issued":
        return "over", state
    if now >= record.expires_at:
        return "expired", State(settle(record, "expired", rules, now, cause="no answer"), account)
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
    """Why no answer is judged at all; empty if it is."""
    record = state.record
    if not untouched(record, keys) or not keys.fits(shown, "seal", *seal_parts(record.challenge_id, record.binding)):
        return "changed"
    return "account locked" if locked(state.account, now) else ""


def deny(state: State, *, rules: Rules, now: int) -> tuple[Result, State]:
    """The customer says: this was not me."""
    if state.record.status != "issued":
        return "over", state
    return "denied", State(settle(state.record, "denied", rules, now, cause="denied"), state.account)


def expire(state: State, *, rules: Rules, now: int) -> tuple[Result, State]:
    """The time is over."""
    if state.record.status != "issued" or now < state.record.expires_at:
        return "over", state
    return "expired", State(settle(state.record, "expired", rules, now, cause="no answer"), state.account)


def ask(state: State, factor: Factor, *, rules: Rules) -> State | None:
    """Ask for another factor, or for a new SMS; code and link in force are void at once. None if that cannot be."""
    record, account = state.record, state.account
    if record.status != "issued" or factor not in rules.order or not account.enrolled(factor):
        return None
    told: Told = "pending" if factor == "sms" else record.told
    if told == "pending" and record.sends >= SENDS:
        return None
    return State(replace(record, using=factor, told=told, code="", link=""), account)


@dataclass(frozen=True, slots=True)
class Secrets:
    """What exists in the clear only while a message is written: a code (if one is asked for) and a link's token."""

    code: str
    token: str


def begin_telling(state: State, *, keys: Keyring, entropy: Entropy) -> tuple[State, Secrets]:
    """Make a new code and link and put their hashes in force, before anything is sent."""
    record = state.record
    secrets = Secrets(code=new_code(entropy) if record.using == "sms" else "", token=new_token(entropy))
    parts = seal_parts(record.challenge_id, record.binding)
    record = replace(
        record,
        told="sending",
        sends=record.sends + 1,
        code=keys.hash("code", secrets.code, *parts) if secrets.code else "",
        link=keys.hash("link", secrets.token),
    )
    return State(record, state.account), secrets


def new_link(state: State, *, keys: Keyring, entropy: Entropy) -> tuple[State, str] | None:
    """Put a new link in force; the one before is void. None once the challenge is settled."""
    if state.record.status != "issued":
        return None
    token = new_token(entropy)
    return State(replace(state.record, link=keys.hash("link", token)), state.account), token


def follow(state: State, token: str, *, keys: Keyring, now: int) -> State | None:
    """Use the link up; None if it is not the one in force, or too late."""
    record = state.record
    if now >= record.expires_at or not record.link or not keys.fits(record.link, "link", token):
        return None
    return State(replace(record, link=""), state.account)


def untouched(record: Record, keys: Keyring) -> bool:
    """Whether what the challenge is about is what it was issued for."""
    return keys.fits(record.seal, "seal", *seal_parts(record.challenge_id, record.binding))


def locked(account: Account, now: int) -> bool:
    """Whether an account has had so many wrong answers that no answer is judged any more."""
    return account.failures >= ACCOUNT_FAILURES and now < account.failures_since + FAILURE_WINDOW


def failed(account: Account, now: int) -> Account:
    """The account after one more wrong answer; a right one in between does not undo the count."""
    if now >= account.failures_since + FAILURE_WINDOW:
        return replace(account, failures=1, failures_since=now)
    return replace(account, failures=account.failures + 1)


def prove(
    account: Account, factor: Factor, value: str, *, challenge: bytes, party: Party, keys: Keyring, now: int
) -> Account | None:
    """The account after a right answer with its app or passkey, or None; a step or a count is used up by it."""
    if factor == "totp" and account.totp:
        secret = keys.unseal(account.totp, f"totp {account.account_id}")
        step = totp_step(secret, typed(value), now, account.totp_step)
        return None if step is None else replace(account, totp_step=step)
    if factor == "passkey" and account.passkeys:
        used = assertion(value, account.passkeys, challenge, party)
        return replace(account, passkeys=used) if used else None
    return None


def _prove(state: State, answer: Answer, *, rules: Rules, keys: Keyring, now: int) -> Account | None:
    record, account = state.record, state.account
    if answer.factor not in rules.order:
        return None
    if answer.factor == "sms":
        parts = (typed(answer.value), *seal_parts(record.challenge_id, record.binding))
        return account if record.code and keys.fits(record.code, "code", *parts) else None
    return prove(
        account, answer.factor, answer.value,
        challenge=passkey_challenge(record), party=rules.party, keys=keys, now=now,
    )  # fmt: skip


def passkey_challenge(record: Record) -> bytes:
    """What a passkey signs for this challenge: the seal, and so amount, currency and payee; unknown without the key."""
    return record.seal.encode()
