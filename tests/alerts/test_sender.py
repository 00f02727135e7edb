from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.notify.channel import Permanent, Retry, Sent, Unknown
from alerts.notify.sender import Change, RetryPolicy, decide, missing, unanswered

POLICY = RetryPolicy(attempts=5, base_ms=1000, cap_ms=8000, settle_ms=3000)
NOW = 1_700_000_000_000


def chance(seed: int) -> Random:
    """Jitter needs no secrecy, and a test wants the same twice."""
    return Random(seed)  # noqa: S311


@given(attempt=st.integers(1, 10_000), seed=st.integers())
def test_the_delay_is_bounded_by_its_attempt_and_the_cap(attempt: int, seed: int) -> None:
    """Full jitter draws between nothing and the doubled bound, and no bound passes the cap."""
    delay = POLICY.delay_ms(attempt, chance(seed))
    assert 0 <= delay <= min(8000, 1000 * 2 ** (attempt - 1))


def test_the_delay_is_spread_over_the_whole_range() -> None:
    """Jitter reaches both ends, so that many senders do not come back together."""
    random = chance(3)
    delays = [POLICY.delay_ms(4, random) for _ in range(2000)]
    assert min(delays) < 200
    assert max(delays) > 7800
    assert 3800 < sum(delays) / len(delays) < 4200


def test_sent_and_refused_messages_are_finished() -> None:
    """A sent message keeps the provider's id, a refused one the provider's code, and neither is tried again."""
    sent = decide(Sent("SM1"), attempts=1, now=NOW, policy=POLICY, random=chance(1))
    assert sent == Change("sent", None, 1, provider_id="SM1")
    refused = decide(Permanent("21211", "no number"), attempts=1, now=NOW, policy=POLICY, random=chance(1))
    assert refused == Change("failed", None, 1, code="21211", error="no number")


@given(attempts=st.integers(1, 4), after=st.integers(0, 60_000), seed=st.integers())
def test_a_retry_waits_at_least_as_long_as_asked(attempts: int, after: int, seed: int) -> None:
    """What may be sent again is pending, due no earlier than the provider said."""
    outcome = Retry("429", "busy", after_ms=after)
    change = decide(outcome, attempts=attempts, now=NOW, policy=POLICY, random=chance(seed))
    assert change.status == "pending"
    assert change.due_at is not None
    assert NOW + after <= change.due_at <= NOW + max(after, 8000)


def test_retries_are_bounded() -> None:
    """The last allowed attempt that fails is the end."""
    change = decide(Retry("451", "busy"), attempts=5, now=NOW, policy=POLICY, random=chance(1))
    assert (change.status, change.due_at, change.code) == ("failed", None, "451")


@pytest.mark.parametrize("attempts", [1, 5])
def test_a_doubtful_message_is_looked_up_after_it_has_settled(attempts: int) -> None:
    """Unknown is never pending: it waits for its look-up, after the last attempt as well."""
    change = decide(Unknown("500", "?"), attempts=attempts, now=NOW, policy=POLICY, random=chance(1))
    assert change.status == "unknown"
    assert change.due_at is not None
    assert change.due_at >= NOW + 3000


def test_a_missing_message_is_sent_again_while_attempts_are_left() -> None:
    """Not at the provider: send again; but with no attempts left it stays in doubt for a person to see."""
    again = missing(attempts=4, now=NOW, policy=POLICY)
    assert (again.status, again.due_at) == ("pending", NOW)
    last = missing(attempts=5, now=NOW, policy=POLICY)
    assert (last.status, last.due_at) == ("unknown", None)


def test_an_unanswered_look_up_is_repeated_and_bounded() -> None:
    """Without an answer nothing is sent: the look-up is tried again, until attempts run out."""
    again = unanswered("down", attempts=4, now=NOW, policy=POLICY, random=chance(1))
    assert again.status == "unknown"
    assert again.due_at is not None
    last = unanswered("down", attempts=5, now=NOW, policy=POLICY, random=chance(1))
    assert (last.status, last.due_at) == ("unknown", None)
