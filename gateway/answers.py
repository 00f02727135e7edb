"""Answers of the API, created from decisions in the log."""

import msgspec
from msgspec import UNSET

from vedette.challenge_ids import challenge_id_of
from vedette.client import Answer, AnswerReason, ChallengeRef, PreviewAnswer
from vedette.events import Action, Decision, Transaction
from vedette.wording import reason as worded

_decoder = msgspec.json.Decoder(Decision)


def decision_of(raw: bytes) -> Decision:
    """Return a decision from the log."""
    return _decoder.decode(raw)


def answer(decision: Decision, challenges: str, latency_ms: float = 0.0) -> Answer:
    """Return the answer for a decision.

    Args:
        decision: The decision.
        challenges: Public URL of the challenge service.
        latency_ms: Time since the request came.
    """
    asks = decision.action == "challenge" and not decision.degraded and decision.final is not True
    return Answer(
        transaction_id=decision.transaction_id,
        action=decision.action,
        score=decision.score if decision.model else None,
        reasons=[AnswerReason(code=reason.code, text=reason.text) for reason in decision.reasons],
        rules=decision.rules,
        model=decision.model,
        policy=decision.policy,
        degraded=decision.degraded,
        provisional=decision.degraded,
        final=decision.final is True or not (asks or decision.degraded),
        latency_ms=round(latency_ms, 3),
        kind=decision.kind,
        challenge=_challenge(decision, challenges) if asks else UNSET,
    )


def _challenge(decision: Decision, challenges: str) -> ChallengeRef:
    id_ = challenge_id_of(decision.account_id, decision.transaction_id)
    return ChallengeRef(id=id_, link=f"{challenges.rstrip('/')}/v1/challenges/{id_}")


def preview(decision: Decision, latency_ms: float) -> PreviewAnswer:
    """Return the preview for a decision that was not published."""
    return PreviewAnswer(
        transaction_id=decision.transaction_id,
        action=decision.action,
        score=decision.score if decision.model else None,
        reasons=[AnswerReason(code=reason.code, text=reason.text) for reason in decision.reasons],
        rules=decision.rules,
        model=decision.model,
        policy=decision.policy,
        latency_ms=round(latency_ms, 3),
    )


def provisional(transaction: Transaction, action: Action, policy: str, latency_ms: float) -> Answer:
    """Return the answer to a payment that was not decided in time."""
    return Answer(
        transaction_id=transaction.transaction_id,
        action=action,
        score=None,
        reasons=[AnswerReason(code="deadline", text=worded("deadline", {}).text)],
        rules=[],
        model="",
        policy=policy,
        degraded=False,
        provisional=True,
        final=False,
        latency_ms=round(latency_ms, 3),
        kind=transaction.kind or UNSET,
    )
