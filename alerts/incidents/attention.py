"""People's attention, as arithmetic: what may be told now, what waits, and who is on duty. All pure."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

Zone = ZoneInfo | timezone

_AT_ONCE = 0.25
"""Share of a day's budget that may be used from its first minute; the rest comes evenly over the day."""


def local(now: int, zone: Zone) -> datetime:
    """A moment (ms since 1970 UTC) on the clocks of a zone."""
    return datetime.fromtimestamp(now / 1000, UTC).astimezone(zone)


def allowance(budget: int, now: int, zone: Zone) -> int:
    """How many incidents may have been told today by now, at most `budget` by the end of the day.

    The budget comes bit by bit, so that a cheap incident in the morning does not use what a dear one needs in the
    evening; among those that wait, the dearest go first.
    """
    moment = local(now, zone)
    passed = (moment - moment.replace(hour=0, minute=0, second=0, microsecond=0)) / timedelta(days=1)
    return min(budget, max(1, int(budget * (_AT_ONCE + (1 - _AT_ONCE) * passed))))


def day_of(now: int, zone: Zone) -> str:
    """The date of a moment, as ISO 8601."""
    return local(now, zone).date().isoformat()


def parse_time(text: str) -> time:
    """A time of day such as 07:30.

    Raises:
        ValueError: It is none.
    """
    hours, colon, minutes = text.partition(":")
    if not colon or not (hours.isdigit() and minutes.isdigit() and len(minutes) == 2):
        raise ValueError(f"{text!r} is no time of day; write it like 07:30")
    return time(int(hours), int(minutes))


def parse_span(text: str) -> tuple[time, time]:
    """A span of the day such as 22:00-07:00, which may pass midnight.

    Raises:
        ValueError: It is none, or empty.
    """
    begin, dash, end = text.partition("-")
    if not dash:
        raise ValueError(f"{text!r} is no span of the day; write it like 22:00-07:00")
    span = parse_time(begin.strip()), parse_time(end.strip())
    if span[0] == span[1]:
        raise ValueError(f"{text!r} begins when it ends")
    return span


def quiet_until(span: tuple[time, time] | None, now: int, zone: Zone) -> int:
    """When the quiet hours that a moment lies in are over, in ms since 1970 UTC; the moment itself outside them."""
    if span is None:
        return now
    begin, end = span
    moment = local(now, zone)
    of_day = moment.time()
    inside = begin <= of_day < end if begin < end else (of_day >= begin or of_day < end)
    if not inside:
        return now
    day = moment.date() + timedelta(days=1 if begin > end and of_day >= begin else 0)
    return _ms(day, end, zone)


def last_digest(times: Sequence[time], now: int, zone: Zone) -> int:
    """The latest moment up to now at which a digest was due, in ms since 1970 UTC; 0 without times."""
    today = local(now, zone).date()
    moments = [_ms(day, at, zone) for day in (today - timedelta(days=1), today) for at in times]
    return max((moment for moment in moments if moment <= now), default=0)


def turn(start: datetime, days: int, people: Sequence[str], now: int, zone: Zone) -> str:
    """Whose turn it is in a rotation that began with the first of them, and changes every so many days.

    Days are counted on the clocks of the zone, so a change of the clocks does not move the hand-over.
    """
    passed = local(now, zone).replace(tzinfo=None) - start
    return people[(passed // timedelta(days=days)) % len(people)]


def _ms(day: date, at: time, zone: Zone) -> int:
    return round(datetime.combine(day, at, zone).timestamp() * 1000)
