"""The effect of an attempt's outcome on a message and its channel: pure, with time and randomness as arguments."""

from dataclasses import dataclass
from random import Random
from typing import Literal

from adapters.channels.channel import ChannelDown, Permanent, Retry, SendOutcome, Sent
from vedette.clock import MINUTE, SECOND

Status = Literal["pending", "sending", "sent", "failed", "unknown"]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Number and timing of the attempts for a message. The defaults span about two hours on average.

    Args:
        attempts: Sends and failed look-ups together, after which there are no further attempts.
        urgent_attempts: The same for urgent messages, whose delays are shorter.
        base_ms: Upper bound of the first delay; each further one doubles it.
        cap_ms: Upper bound of any delay.
        urgent_cap_ms: The same for urgent messages.
        settle_ms: Delay of the first look-up of an unknown message, so that a request in progress has arrived by then.
    """

    attempts: int = 30
    urgent_attempts: int = 480
    base_ms: int = SECOND
    cap_ms: int = 10 * MINUTE
    urgent_cap_ms: int = 30 * SECOND
    settle_ms: int = 5 * SECOND

    def delay_ms(self, attempt: int, random: Random, *, urgent: bool = False) -> int:
        """Return an exponential back-off with full jitter: uniform between 0 and the bound of this attempt (1, 2, …).

        Source: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
        """
        cap = self.urgent_cap_ms if urgent else self.cap_ms
        bound = min(cap, self.base_ms * 2 ** min(attempt - 1, 32))
        return round(random.uniform(0, bound))

    def is_spent(self, attempts: int, *, urgent: bool) -> bool:
        """Return whether a message has used all its attempts."""
        return attempts >= (self.urgent_attempts if urgent else self.attempts)


@dataclass(frozen=True, slots=True)
class OutboxChange:
    """The new state of a message after an attempt.

    Attributes:
        status: Its status.
        due_at: When it is tried again, ms since 1970 UTC; None: never.
        attempts: How many attempts count against it.
        provider_id: The provider's id of a sent message.
        code: The provider's code of a refusal.
        error: The reason in words.
    """

    status: Status
    due_at: int | None
    attempts: int
    provider_id: str = ""
    code: str = ""
    error: str = ""


def decide(
    outcome: SendOutcome, *, attempts: int, urgent: bool = False, now: int, policy: RetryPolicy, random: Random
) -> OutboxChange:
    """Return the change that the outcome of attempt number `attempts` (from 1) brings."""
    if isinstance(outcome, Sent):
        return OutboxChange("sent", None, attempts, provider_id=outcome.provider_id)
    if isinstance(outcome, Permanent):
        return OutboxChange("failed", None, attempts, code=outcome.code, error=outcome.reason)
    if isinstance(outcome, ChannelDown):
        # The message is held at no cost to it; the channel's pause decides when the next attempt is made.
        return OutboxChange("pending", now, attempts - 1, code=outcome.code, error=outcome.reason)
    delay = policy.delay_ms(attempts, random, urgent=urgent)
    if isinstance(outcome, Retry):
        if policy.is_spent(attempts, urgent=urgent):
            reason = f"given up after {attempts} attempts: {outcome.reason}"
            return OutboxChange("failed", None, attempts, code=outcome.code, error=reason)
        due = now + max(outcome.after_ms, delay)
        return OutboxChange("pending", due, attempts, code=outcome.code, error=outcome.reason)
    # The last attempt is also looked up once: `missing` then decides whether there is another.
    return OutboxChange("unknown", now + policy.settle_ms + delay, attempts, code=outcome.code, error=outcome.reason)


def missing(*, attempts: int, urgent: bool = False, now: int, policy: RetryPolicy) -> OutboxChange:
    """Return the change for an unknown message that its provider does not have: sent again if attempts are left."""
    if not policy.is_spent(attempts, urgent=urgent):
        return OutboxChange("pending", now, attempts, code="missing", error="the provider does not have it")
    return OutboxChange("unknown", None, attempts, code="gave up", error=f"outcome unknown after {attempts} attempts")


def unanswered(
    reason: str, *, attempts: int, urgent: bool = False, now: int, policy: RetryPolicy, random: Random
) -> OutboxChange:
    """Return the change for an unknown message whose look-up, attempt number `attempts`, was not answered."""
    due = None
    if not policy.is_spent(attempts, urgent=urgent):
        due = now + policy.settle_ms + policy.delay_ms(attempts, random, urgent=urgent)
    return OutboxChange("unknown", due, attempts, code="look-up", error=reason)


class ChannelPause:
    """When a channel may be used again after a setback: a circuit breaker with exponential back-off.

    A setback is a refusal for now or a channel that is down. It belongs to the channel and to the round of attempts:
    however many messages of one round are refused, that is one setback. After the pause one message probes the
    channel, and a success ends the back-off. Urgent messages probe sooner than others.

    Args:
        policy: Length of pauses.
        random: Source of the jitter.
    """

    def __init__(self, policy: RetryPolicy, random: Random) -> None:
        self._policy = policy
        self._random = random
        self.round = 0
        """Number of the current round. An attempt belongs to the round in which it began."""
        self.setbacks = 0
        """Rounds with a setback since the last success."""
        self.until = 0
        """Time at which the channel may be used again, ms since 1970 UTC."""
        self.urgent_until = 0
        """Time at which it may be used for urgent messages."""
        self.failure: Retry | ChannelDown | None = None
        """The last setback; None after a success."""

    def capacity(self, now: int, parallel: int) -> tuple[int, bool]:
        """Return how many messages may be in progress now, and whether only urgent ones."""
        if now < self.urgent_until:
            return 0, True
        return (1 if self.setbacks else parallel), now < self.until

    def record(self, outcome: SendOutcome, began_in: int, now: int) -> bool:
        """Record the outcome of an attempt that began in a round. Return whether it is a new setback."""
        if isinstance(outcome, Sent | Permanent):
            self.setbacks, self.failure = 0, None
            if began_in == self.round:  # an older attempt says nothing about the time after the setback
                self.until = self.urgent_until = 0
            return False
        if not isinstance(outcome, Retry | ChannelDown):
            return False
        is_new = began_in == self.round
        if is_new:
            self.round += 1
            self.setbacks += 1
            self.failure = outcome
            delay = self._policy.delay_ms(self.setbacks, self._random)
            self.until = now + delay
            self.urgent_until = now + min(delay, self._policy.urgent_cap_ms)
        if isinstance(outcome, Retry):  # a provider that asks for a time is given it, by urgent messages, too
            self.until = max(self.until, now + outcome.after_ms)
            self.urgent_until = max(self.urgent_until, now + outcome.after_ms)
        return is_new
