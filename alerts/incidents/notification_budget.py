"""The arithmetic of notification: how many incidents now, how long messages wait, who is on duty. All pure."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

Zone = ZoneInfo | timezone

_AT_ONCE = 0.25
"""The fraction of a day's budget that may be used from its first minute; the rest is added evenly over the day."""


def local(now: int, zone: Zone) -> datetime:
    """Return the local time of a moment (ms since 1970 UTC) in a zone."""
    return datetime.fromtimestamp(now / 1000, UTC).astimezone(zone)


def allowance(budget: int, now: int, zone: Zone) -> int:
    """Return how many incidents may have been notified today by now, at most `budget` by the end of the day.

    The budget grows over the day, so that small incidents in the morning leave room for a large one in the evening.
    Of those that wait, the one with the highest expected loss comes first.
    """
    moment = local(now, zone)
    passed = (moment - moment.replace(hour=0, minute=0, second=0, microsecond=0)) / timedelta(days=1)
    return min(budget, max(1, int(budget * (_AT_ONCE + (1 - _AT_ONCE) * passed))))


def day_of(now: int, zone: Zone) -> str:
    """Return the local date of a moment as ISO 8601."""
    return local(now, zone).date().isoformat()


def parse_time(text: str) -> time:
    """Return a time of day such as 07:30.

    Raises:
        ValueError: The text is not a time of day.
    """
    hours, colon, minutes = text.partition(":")
    if not colon or not (hours.isdigit() and minutes.isdigit() and len(minutes) == 2):
        raise ValueError(f"{text!r} is not a time of day; write it like 07:30")
    return time(int(hours), int(minutes))


def parse_span(text: str) -> tuple[time, time]:
    """Return a span of the day such as 22:00-07:00, which may pass midnight.

    Raises:
        ValueError: The text is not a span, or the span is empty.
    """
    begin, dash, end = text.partition("-")
    if not dash:
        raise ValueError(f"{text!r} is not a span of the day; write it like 22:00-07:00")
    span = parse_time(begin.strip()), parse_time(end.strip())
    if span[0] == span[1]:
        raise ValueError(f"{text!r} is empty: it ends when it begins")
    return span


def quiet_until(span: tuple[time, time] | None, now: int, zone: Zone) -> int:
    """Return the end of the quiet hours that contain a moment, ms since 1970 UTC; outside them the moment itself."""
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
    """Return the latest moment up to now at which a digest was due, ms since 1970 UTC; 0 without times."""
    today = local(now, zone).date()
    moments = [_ms(day, at, zone) for day in (today - timedelta(days=1), today) for at in times]
    return max((moment for moment in moments if moment <= now), default=0)


def turn(start: datetime, days: int, people: Sequence[str], now: int, zone: Zone) -> str:
    """Return whose turn it is in a rotation that began with the first person and changes every `days` days.

    Days are counted in local time, so that daylight saving does not move the hand-over.
    """
    passed = local(now, zone).replace(tzinfo=None) - start
    return people[(passed // timedelta(days=days)) % len(people)]


def _ms(day: date, at: time, zone: Zone) -> int:
    return round(datetime.combine(day, at, zone).timestamp() * 1000)
