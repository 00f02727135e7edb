"""The events of a challenge: byte-identical each time they are published."""

from collections.abc import Iterator

import msgspec

from challenges.records import ChallengeRecord
from vedette.events import Alert, Challenge, Decision, Event, Label, Reason
from vedette.topics import Name
from vedette.wording import reason as worded


def issued(record: ChallengeRecord) -> Iterator[tuple[Name, Event]]:
    """Yield the events of an issued challenge."""
    yield Name.CHALLENGES, _challenge(record)


def settled(record: ChallengeRecord) -> Iterator[tuple[Name, Event]]:
    """Yield the events of a settled challenge: the outcome, the final decision, and possibly a label and an alert.

    A label is fraud only if the customer denied the payment; the alert, from which an incident is created, also follows
    guessing, a changed payment, or a failed notification.
    """
    yield Name.CHALLENGES, _challenge(record, settled=True)
    decision = msgspec.json.decode(record.decision, type=Decision) if record.decision else None
    reason = _reason(record)
    if decision and record.action:
        yield Name.DECISIONS, _final(decision, record, reason)
    if record.status == "denied":
        yield Name.LABELS, _label(decision, record)
    if record.status in ("denied", "blocked") or record.cause == "not notified":
        yield Name.ALERTS, _alert(decision, record, reason)


def _challenge(record: ChallengeRecord, *, settled: bool = False) -> Challenge:
    binding = record.binding
    return Challenge(
        challenge_id=record.challenge_id,
        transaction_id=binding.transaction_id,
        account_id=binding.account_id,
        amount=binding.amount,
        currency=binding.currency,
        payee=binding.payee,
        status=record.status if settled else "issued",
        factor=record.using if settled else record.factor,
        issued_at=record.issued_at,
        expires_at=record.expires_at,
        settled_at=record.settled_at if settled else None,
    )


def _final(decision: Decision, record: ChallengeRecord, reason: Reason) -> Decision:
    return msgspec.structs.replace(
        decision,
        action=record.action,
        reasons=[reason, *decision.reasons],
        final=True,
        follows=record.challenge_id,
    )


def _label(decision: Decision | None, record: ChallengeRecord) -> Label:
    return Label(
        transaction_id=record.binding.transaction_id,
        account_id=record.binding.account_id,
        fraud=True,
        source="challenge",
        event_time=decision.event_time if decision else record.issued_at,
        labelled_at=record.settled_at or record.expires_at,
        merchant_id=_known(decision, "merchant_id"),
        device_id=_known(decision, "device_id"),
        ip_address=_known(decision, "ip_address"),
        payee=_known(decision, "payee"),
    )


def _alert(decision: Decision | None, record: ChallengeRecord, reason: Reason) -> Alert:
    binding = record.binding
    return Alert(
        alert_id=f"challenge-{record.challenge_id}",
        transaction_id=binding.transaction_id,
        account_id=binding.account_id,
        event_time=decision.event_time if decision else record.issued_at,
        amount=binding.amount,
        currency=binding.currency,
        action=record.action or "decline",
        score=1.0 if record.status == "denied" or not decision else decision.score,
        expected_loss=binding.amount if record.status == "denied" or not decision else decision.expected_loss,
        reasons=[reason, *(decision.reasons if decision else ())],
        merchant_id=_known(decision, "merchant_id"),
        channel=_known(decision, "channel"),
        country=_known(decision, "country"),
        device_id=_known(decision, "device_id"),
        ip_address=_known(decision, "ip_address"),
        payee=binding.payee,
    )


def _known(decision: Decision | None, name: str) -> str | None:
    """Return an optional field of a decision, for labels and alerts."""
    return getattr(decision, name, None) or None


def _reason(record: ChallengeRecord) -> Reason:
    """Return the outcome as a reason, whose code names the cause, or the factor of an approval."""
    how = f"approved {record.using}".rstrip() if record.status == "approved" else record.cause
    return worded(f"challenge-{how.replace(' ', '-')}", {})
