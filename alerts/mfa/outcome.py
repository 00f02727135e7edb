"""What a challenge says on the topics: the same bytes whenever it is said again."""

from collections.abc import Iterator

import msgspec

from alerts.mfa.records import Record
from vedette.events import Alert, Challenge, Decision, Event, Label
from vedette.topics import Name

_CAUSES = {
    "denied": "the customer says: this was not me",
    "wrong answers": "too many wrong answers to the challenge",
    "account locked": "too many wrong answers to challenges of this account",
    "changed": "the payment was changed after the customer had been asked",
    "no answer": "the customer did not answer in time",
    "no factor": "the customer has nothing to answer with",
}

_USING = {"passkey": "passkey", "totp": "authenticator app", "sms": "code by SMS"}


def issued(record: Record) -> Iterator[tuple[Name, Event]]:
    """What is said once the customer is asked."""
    yield Name.CHALLENGES, _challenge(record)


def settled(record: Record) -> Iterator[tuple[Name, Event]]:
    """What is said at the end: the outcome, the final decision, and about a payment not approved a label and an alert.

    A label says fraud only where the customer said so; the alert, from which an incident is made, also comes when
    somebody guessed, or the payment was changed.
    """
    yield Name.CHALLENGES, _challenge(record, settled=True)
    decision = msgspec.json.decode(record.decision, type=Decision) if record.decision else None
    reason = _reason(record)
    if decision and record.action:
        yield Name.DECISIONS, _final(decision, record, reason)
    if record.status == "denied":
        yield Name.LABELS, _label(decision, record)
    if record.status in ("denied", "blocked"):
        yield Name.ALERTS, _alert(decision, record, reason)


def _challenge(record: Record, *, settled: bool = False) -> Challenge:
    about = record.binding
    return Challenge(
        challenge_id=record.challenge_id,
        transaction_id=about.transaction_id,
        account_id=about.account_id,
        amount=about.amount,
        currency=about.currency,
        payee=about.payee,
        status=record.status if settled else "issued",
        factor=record.using if settled else record.factor,
        issued_at=record.issued_at,
        expires_at=record.expires_at,
        settled_at=record.settled_at if settled else None,
    )


def _final(decision: Decision, record: Record, reason: str) -> Decision:
    return msgspec.structs.replace(
        decision,
        action=record.action,
        reasons=[reason, *decision.reasons],
        final=True,
        follows=record.challenge_id,
    )


def _label(decision: Decision | None, record: Record) -> Label:
    return Label(
        transaction_id=record.binding.transaction_id,
        account_id=record.binding.account_id,
        fraud=True,
        source="challenge",
        event_time=decision.event_time if decision else record.issued_at,
        labelled_at=record.settled_at or record.expires_at,
        merchant_id=(decision and decision.merchant_id) or None,
        device_id=(decision and decision.device_id) or None,
    )


def _alert(decision: Decision | None, record: Record, reason: str) -> Alert:
    about = record.binding
    return Alert(
        alert_id=f"challenge-{record.challenge_id}",
        transaction_id=about.transaction_id,
        account_id=about.account_id,
        event_time=decision.event_time if decision else record.issued_at,
        amount=about.amount,
        currency=about.currency,
        action="decline",
        score=1.0 if record.status == "denied" or not decision else decision.score,
        expected_loss=about.amount if record.status == "denied" or not decision else decision.expected_loss,
        reasons=[reason, *(decision.reasons if decision else ())],
        merchant_id=(decision and decision.merchant_id) or None,
        payee=about.payee,
    )


def _reason(record: Record) -> str:
    if record.status == "approved":
        return f"approved by the customer ({_USING[record.using]})" if record.using else "approved by the customer"
    return _CAUSES[record.cause]
