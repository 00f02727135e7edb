"""What an outcome means for a message: pure, with time and chance as arguments."""

from dataclasses import dataclass
from random import Random
from typing import Literal

from alerts.notify.channel import Outcome, Permanent, Retry, Sent
from vedette.clock import MINUTE, SECOND

Status = Literal["pending", "sending", "sent", "failed", "unknown"]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how soon a message is tried again.

    Args:
        attempts: Sends and failed look-ups together, after which nobody tries any more.
        base_ms: Upper bound of the first delay; each further one doubles it.
        cap_ms: Upper bound of any delay. The defaults span about two hours on average.
        settle_ms: An unknown message is left alone this long before it is looked up, so that a request still on
            its way has arrived by then.
    """

    attempts: int = 30
    base_ms: int = SECOND
    cap_ms: int = 10 * MINUTE
    settle_ms: int = 5 * SECOND

    def delay_ms(self, attempt: int, random: Random) -> int:
        """Exponential back-off with full jitter: uniform between 0 and the bound of this attempt (1, 2, …).

        Source: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
        """
        bound = min(self.cap_ms, self.base_ms * 2 ** min(attempt - 1, 32))
        return round(random.uniform(0, bound))


@dataclass(frozen=True, slots=True)
class Change:
    """What the outbox is to remember of a message after attempt number `attempts`.

    `due_at` None means that nothing more is tried.
    """

    status: Status
    due_at: int | None
    attempts: int
    provider_id: str = ""
    code: str = ""
    error: str = ""


def decide(outcome: Outcome, *, attempts: int, now: int, policy: RetryPolicy, random: Random) -> Change:
    """The change that an outcome of the attempt with this number (from 1) brings."""
    if isinstance(outcome, Sent):
        return Change("sent", None, attempts, provider_id=outcome.provider_id)
    if isinstance(outcome, Permanent):
        return Change("failed", None, attempts, code=outcome.code, error=outcome.reason)
    delay = policy.delay_ms(attempts, random)
    if isinstance(outcome, Retry):
        if attempts >= policy.attempts:
            reason = f"given up after {attempts} attempts: {outcome.reason}"
            return Change("failed", None, attempts, code=outcome.code, error=reason)
        return Change("pending", now + max(outcome.after_ms, delay), attempts, code=outcome.code, error=outcome.reason)
    # The last attempt, too, is looked up once: `missing` then decides whether anything more is tried.
    return Change("unknown", now + policy.settle_ms + delay, attempts, code=outcome.code, error=outcome.reason)


def missing(*, attempts: int, now: int, policy: RetryPolicy) -> Change:
    """What becomes of an unknown message its provider does not have: it is sent again, if attempts are left."""
    if attempts < policy.attempts:
        return Change("pending", now, attempts, code="missing", error="looked up, and not there")
    return Change("unknown", None, attempts, code="gave up", error=f"in doubt after {attempts} attempts")


def unanswered(reason: str, *, attempts: int, now: int, policy: RetryPolicy, random: Random) -> Change:
    """What becomes of an unknown message whose look-up, attempt number `attempts`, was not answered."""
    due = now + policy.settle_ms + policy.delay_ms(attempts, random) if attempts < policy.attempts else None
    return Change("unknown", due, attempts, code="look-up", error=reason)
