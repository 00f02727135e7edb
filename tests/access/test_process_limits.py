"""Limits that a single process counts for itself."""

from access.process_limits import ProcessRateLimiter
from access.rate_limit import RateLimit

TWO = RateLimit("two", 2, 1_000)


def test_a_window_of_calls_is_limited() -> None:
    """At most the limit falls into any interval of the window's length; another subject has its own window."""
    limiter = ProcessRateLimiter()
    assert [limiter.wait_ms(TWO, "a", now) for now in (0, 400, 900)] == [0, 0, 100]
    assert limiter.wait_ms(TWO, "b", 900) == 0
    assert [limiter.wait_ms(TWO, "a", now) for now in (1_000, 1_399, 1_400)] == [0, 1, 0]


def test_the_subjects_kept_are_bounded() -> None:
    """Any number of strangers leaves memory bounded, and one who keeps coming is still counted."""
    limiter = ProcessRateLimiter()
    for number in range(30_000):
        limiter.wait_ms(TWO, str(number), 0)
        limiter.wait_ms(TWO, "busy", 0)
    assert len(limiter._events) == 10_000
    assert limiter.wait_ms(TWO, "busy", 1) > 0
