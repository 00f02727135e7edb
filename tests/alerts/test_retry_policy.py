from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.channels.channel import ChannelDown, Permanent, Retry, Sent, Unknown
from alerts.notify.retry_policy import ChannelPause, OutboxChange, RetryPolicy, decide, missing, unanswered
from vedette.clock import HOUR

POLICY = RetryPolicy(attempts=5, base_ms=1000, cap_ms=8000, settle_ms=3000)
NOW = 1_700_000_000_000


def chance(seed: int) -> Random:
    """A seeded source: jitter needs no secrecy, and a test needs the same draws twice."""
    return Random(seed)  # noqa: S311


@given(attempt=st.integers(1, 10_000), seed=st.integers())
def test_the_delay_is_bounded_by_its_attempt_and_the_cap(attempt: int, seed: int) -> None:
    """Full jitter draws between zero and the doubled bound, and no bound exceeds the cap."""
    delay = POLICY.delay_ms(attempt, chance(seed))
    assert 0 <= delay <= min(8000, 1000 * 2 ** (attempt - 1))


def test_the_delay_is_spread_over_the_whole_range() -> None:
    """Jitter reaches both ends, so that many senders do not retry at the same time."""
    random = chance(3)
    delays = [POLICY.delay_ms(4, random) for _ in range(2000)]
    assert min(delays) < 200
    assert max(delays) > 7800
    assert 3800 < sum(delays) / len(delays) < 4200


def test_sent_and_refused_messages_are_finished() -> None:
    """A sent message keeps the provider's id and a refused one the provider's code; neither is tried again."""
    sent = decide(Sent("SM1"), attempts=1, now=NOW, policy=POLICY, random=chance(1))
    assert sent == OutboxChange("sent", None, 1, provider_id="SM1")
    refused = decide(Permanent("21211", "no number"), attempts=1, now=NOW, policy=POLICY, random=chance(1))
    assert refused == OutboxChange("failed", None, 1, code="21211", error="no number")


@given(attempts=st.integers(1, 4), after=st.integers(0, 60_000), seed=st.integers())
def test_a_retry_waits_at_least_as_long_as_asked(attempts: int, after: int, seed: int) -> None:
    """A message that may be sent again is pending, due no earlier than the provider requested."""
    outcome = Retry("429", "busy", after_ms=after)
    change = decide(outcome, attempts=attempts, now=NOW, policy=POLICY, random=chance(seed))
    assert change.status == "pending"
    assert change.due_at is not None
    assert NOW + after <= change.due_at <= NOW + max(after, 8000)


def test_retries_are_bounded() -> None:
    """The last allowed attempt that fails ends the retries."""
    change = decide(Retry("451", "busy"), attempts=5, now=NOW, policy=POLICY, random=chance(1))
    assert (change.status, change.due_at, change.code) == ("failed", None, "451")


@pytest.mark.parametrize("attempts", [1, 5])
def test_a_doubtful_message_is_looked_up_after_it_has_settled(attempts: int) -> None:
    """An unknown message is never pending: it waits for its look-up, also after the last attempt."""
    change = decide(Unknown("500", "?"), attempts=attempts, now=NOW, policy=POLICY, random=chance(1))
    assert change.status == "unknown"
    assert change.due_at is not None
    assert change.due_at >= NOW + 3000


def test_a_missing_message_is_sent_again_while_attempts_are_left() -> None:
    """A message unknown to the provider is sent again; without attempts left it stays unknown, for a person to see."""
    again = missing(attempts=4, now=NOW, policy=POLICY)
    assert (again.status, again.due_at) == ("pending", NOW)
    last = missing(attempts=5, now=NOW, policy=POLICY)
    assert (last.status, last.due_at) == ("unknown", None)


def test_an_unanswered_look_up_is_repeated_and_bounded() -> None:
    """Without an answer nothing is sent: the look-up is retried until attempts run out."""
    again = unanswered("down", attempts=4, now=NOW, policy=POLICY, random=chance(1))
    assert again.status == "unknown"
    assert again.due_at is not None
    last = unanswered("down", attempts=5, now=NOW, policy=POLICY, random=chance(1))
    assert (last.status, last.due_at) == ("unknown", None)


def test_a_channel_that_is_down_costs_a_message_no_attempt() -> None:
    """However often the login is refused, the message stays pending, due at once, with its number of attempts."""
    down = ChannelDown("535", "refused the login", "check the password")
    change = decide(down, attempts=POLICY.attempts + 7, now=NOW, policy=POLICY, random=chance(1))
    assert change == OutboxChange("pending", NOW, POLICY.attempts + 6, code="535", error="refused the login")


def test_an_urgent_message_is_tried_sooner_and_as_long() -> None:
    """Its delays are capped lower, and it has correspondingly more attempts."""
    policy = RetryPolicy()
    random = chance(5)
    ordinary = max(policy.delay_ms(20, random) for _ in range(200))
    urgent = max(policy.delay_ms(20, random, urgent=True) for _ in range(200))
    assert urgent <= policy.urgent_cap_ms < ordinary
    assert not policy.is_spent(policy.attempts, urgent=True)
    assert policy.is_spent(policy.attempts, urgent=False)
    assert policy.urgent_attempts * policy.urgent_cap_ms >= 2 * HOUR


REFUSED = Retry("451", "busy")


@given(refused=st.integers(1, 64), seed=st.integers())
def test_a_burst_of_refusals_is_one_setback(refused: int, seed: int) -> None:
    """However many messages of a round are refused, the pause is the one after a single setback."""
    pause = ChannelPause(POLICY, chance(seed))
    new = [pause.record(REFUSED, 0, NOW) for _ in range(refused)]
    assert (new.count(True), pause.setbacks) == (1, 1)
    assert pause.until <= NOW + POLICY.base_ms


def test_each_round_with_a_refusal_doubles_the_pause_and_a_success_ends_it() -> None:
    """Setbacks are counted per round; after one, a single message probes the channel."""
    pause = ChannelPause(POLICY, chance(3))
    assert pause.capacity(NOW, 16) == (16, False)
    now = NOW
    for number in range(1, 6):
        assert pause.record(REFUSED, pause.round, now)
        assert pause.setbacks == number
        assert pause.until - now <= min(POLICY.cap_ms, POLICY.base_ms * 2 ** (number - 1))
        now = max(now, pause.until)
        assert pause.capacity(now, 16) == (1, False)
    pause.record(Sent("x"), pause.round, now)
    assert (pause.capacity(now, 16), pause.failure, pause.setbacks) == ((16, False), None, 0)


def test_a_late_success_of_an_earlier_round_does_not_end_the_pause() -> None:
    """A message that began before the setback says nothing about the channel after it."""
    pause = ChannelPause(RetryPolicy(base_ms=60_000, urgent_cap_ms=60_000), chance(3))
    pause.record(Retry("429", "slow", after_ms=30_000), 0, NOW)
    pause.record(Sent("x"), 0, NOW)
    assert pause.capacity(NOW + 29_999, 16)[0] == 0


def test_urgent_messages_probe_a_paused_channel_sooner() -> None:
    """After many setbacks ordinary messages wait for minutes, urgent ones for half a minute at most."""
    policy = RetryPolicy()
    pause = ChannelPause(policy, chance(8))
    down = ChannelDown("535", "refused the login", "check the password")
    while pause.until - NOW <= policy.urgent_cap_ms:
        pause.record(down, pause.round, NOW)
    assert pause.capacity(NOW + policy.urgent_cap_ms, 16) == (1, True)
    assert pause.failure is down


def test_a_provider_that_asks_for_a_time_is_given_it_by_urgent_messages_too() -> None:
    """Retry-After applies to all messages, also when it comes with a later refusal of the same round."""
    pause = ChannelPause(POLICY, chance(1))
    pause.record(REFUSED, 0, NOW)
    pause.record(Retry("429", "slow", after_ms=50_000), 0, NOW)
    assert pause.capacity(NOW + 49_999, 16) == (0, True)
    assert pause.capacity(NOW + 50_000, 16) == (1, False)
