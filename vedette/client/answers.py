"""What a gateway answers, and how it refuses."""

from http import HTTPStatus

import msgspec
from msgspec import UNSET, UnsetType

from vedette.events import Action, Kind


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A refusal.

    Attributes:
        type: URN of the kind of problem, for programs.
        title: The kind in words.
        status: The HTTP status.
        detail: What is wrong; for an event that cannot be read, the words that its dead letter would have.
        field: The field that it is about; empty: none.
        value: The field's value, if it is a short text or a number.
        remedy: Suggested action for the caller.
    """

    type: str
    title: str
    status: int
    detail: str
    field: str = ""
    value: str | int | float | bool | None = None
    remedy: str = ""


class ProblemError(Exception):
    """A request, or one payment of it, is refused.

    Args:
        problem: Problem document of the response.
        retry_after_s: Seconds after which the same request may succeed; 0: it would not.
    """

    def __init__(self, problem: Problem, retry_after_s: int = 0) -> None:
        super().__init__(problem.title)
        self.problem, self.retry_after_s = problem, retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer."""
        return {"Retry-After": str(self.retry_after_s)} if self.retry_after_s else {}


def of_status(status: int, detail: str) -> Problem:
    """Return a problem that its HTTP status says everything about."""
    return Problem(type="about:blank", title=HTTPStatus(status).phrase, status=status, detail=detail)


class AnswerReason(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A reason for a decision: its text, and its stable code (docs/reasons.md)."""

    text: str
    code: str = ""


class ChallengeRef(msgspec.Struct, frozen=True, kw_only=True):
    """The challenge to the customer, which the challenge service knows as soon as it has issued it.

    Attributes:
        id: Its id.
        link: Its address in the API of the challenge service: how it stands there, and under it `/answer` takes an
            answer and `/link` makes a link to the customer's page. Empty: an earlier gateway answers.
    """

    id: str
    link: str = ""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A decision on a payment.

    Attributes:
        transaction_id: The payment.
        action: Action for the payment.
        score: Calibrated probability of fraud; null in a provisional answer by the policy's fallback, and for a refund,
            reversal or deposit that the policy does not want scored.
        reasons: Reasons, the strongest first.
        rules: Names of the rules, limits and lists that applied.
        model: Name and version of the model; empty if none was used.
        policy: Name and version of the policy.
        degraded: Whether it was decided without history; the decision with history follows.
        provisional: Whether the standing decision is still to follow.
        final: Whether no further decision follows.
        latency_ms: Milliseconds from the arrival of the request to this answer; 0 for a look-up.
        kind: Kind of transaction, where it names one.
        challenge: The challenge for the customer, if the action requires one.
    """

    transaction_id: str
    action: Action
    score: float | None
    reasons: list[AnswerReason]
    rules: list[str]
    model: str
    policy: str
    degraded: bool
    provisional: bool
    final: bool
    latency_ms: float
    kind: Kind | UnsetType = UNSET
    challenge: ChallengeRef | UnsetType = UNSET


class PreviewAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The decision that a payment would get now; nothing was published.

    Attributes:
        transaction_id: The payment.
        action: Action that it would get.
        score: Calibrated probability of fraud; null where the policy does not want one.
        reasons: Reasons, the strongest first.
        rules: Names of the rules, limits and lists that would apply.
        model: Name and version of the model.
        policy: Name and version of the policy.
        latency_ms: Milliseconds from the arrival of the request to this answer.
    """

    transaction_id: str
    action: Action
    score: float | None
    reasons: list[AnswerReason]
    rules: list[str]
    model: str
    policy: str
    latency_ms: float


class BatchItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to one payment of a batch: `status` is that of a single request."""

    status: int
    decision: Answer | None = None
    problem: Problem | None = None


class BatchAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answers to a batch, in its order."""

    results: list[BatchItem]


class LineResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Result of one line; `line` counts from 1."""

    line: int
    status: int
    transaction_id: str = ""
    problem: Problem | None = None
