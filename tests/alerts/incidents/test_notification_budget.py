from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.incidents.notification_budget import allowance, last_digest, parse_span, parse_time, quiet_until, turn

MADRID = ZoneInfo("Europe/Madrid")


def ms(text: str) -> int:
    """Milliseconds of an ISO moment."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


@given(budget=st.integers(1, 10_000), minutes=st.lists(st.integers(0, 1439), min_size=2, max_size=2))
def test_a_budget_grows_over_the_day_and_is_never_passed(budget: int, minutes: list[int]) -> None:
    """At any minute at least one and at most the whole budget is allowed; later is never less than earlier."""
    earlier, later = (
        allowance(budget, ms("2026-03-02T00:00:00+00:00") + minute * 60_000, UTC) for minute in sorted(minutes)
    )
    assert 1 <= earlier <= later <= budget


def test_a_budget_begins_with_a_quarter_and_ends_whole() -> None:
    """Of a hundred, 25 are allowed at midnight, 62 at noon and 99 in the last minute, in the team's local time."""
    moments = ("2026-03-02T00:00:00+01:00", "2026-03-02T12:00:00+01:00", "2026-03-02T23:59:00+01:00")
    assert [allowance(100, ms(moment), MADRID) for moment in moments] == [25, 62, 99]


@pytest.mark.parametrize(
    ("span", "now", "end"),
    [
        ("22:00-07:00", "2026-03-02T21:59:00+01:00", "2026-03-02T21:59:00+01:00"),
        ("22:00-07:00", "2026-03-02T22:00:00+01:00", "2026-03-03T07:00:00+01:00"),
        ("22:00-07:00", "2026-03-03T06:59:00+01:00", "2026-03-03T07:00:00+01:00"),
        ("22:00-07:00", "2026-03-03T07:00:00+01:00", "2026-03-03T07:00:00+01:00"),
        ("13:00-15:00", "2026-03-03T14:00:00+01:00", "2026-03-03T15:00:00+01:00"),
        ("22:00-07:00", "2026-03-28T23:00:00+01:00", "2026-03-29T07:00:00+02:00"),  # the clocks change that night
    ],
)
def test_quiet_hours_end_on_the_clocks_of_the_team(span: str, now: str, end: str) -> None:
    """A message within them waits for their end, across midnight and clock changes; any other does not wait."""
    assert quiet_until(parse_span(span), ms(now), MADRID) == ms(end)


def test_the_last_digest_may_be_yesterdays() -> None:
    """Before today's first digest, the last one was yesterday's; without times there is none."""
    times = [time(8), time(16)]
    assert last_digest(times, ms("2026-03-02T07:59:00+00:00"), UTC) == ms("2026-03-01T16:00:00+00:00")
    assert last_digest(times, ms("2026-03-02T08:00:00+00:00"), UTC) == ms("2026-03-02T08:00:00+00:00")
    assert last_digest([], ms("2026-03-02T08:00:00+00:00"), UTC) == 0


def test_a_rotation_hands_over_at_the_same_hour_all_year() -> None:
    """Each person has a week, then the first one again; a change of the clocks moves nothing."""
    start, people = datetime(2026, 3, 23, 8), ["ana", "ben"]  # noqa: DTZ001, on the team's clocks
    for moment, who in (
        ("2026-03-30T07:59:00+02:00", "ana"),
        ("2026-03-30T08:00:00+02:00", "ben"),
        ("2026-04-06T08:00:00+02:00", "ana"),
    ):
        assert turn(start, 7, people, ms(moment), MADRID) == who


@pytest.mark.parametrize("text", ["7", "25:00", "07:60", "0730", "a:bc", "07:5"])
def test_what_is_no_time_of_day_is_refused(text: str) -> None:
    """The error shows the text."""
    with pytest.raises(ValueError, match=r"time of day|hour must|minute must|not a span|is empty"):
        parse_time(text)


@pytest.mark.parametrize("text", ["22:00", "22:00-22:00", "22:00-x", "-"])
def test_what_is_no_span_is_refused(text: str) -> None:
    """A span has two different times."""
    with pytest.raises(ValueError, match=r"time of day|hour must|minute must|not a span|is empty"):
        parse_span(text)
