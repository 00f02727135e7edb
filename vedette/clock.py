"""Time as an argument: code that needs the current time takes a Clock."""

import time
from datetime import UTC, datetime
from typing import Protocol

from vedette.errors import InputError

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


class Clock(Protocol):
    """A source of the current time."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970-01-01 UTC."""
        ...


class SystemClock:
    """The clock of this machine."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1_000_000


def parse_time(text: str) -> int:
    """Return milliseconds since 1970-01-01 UTC for an ISO 8601 date or date-time; without an offset it is UTC.

    Raises:
        InputError: The text is not ISO 8601.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            f"{text!r} is not a date or time", remedy="write it like 2018-08-29 or 2018-08-29T13:00:00Z"
        ) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


def likely_unit(value: int, earliest: int, latest: int) -> str:
    """Return the unit in which a number lies between two times that are given in milliseconds.

    Returns:
        "seconds", "microseconds", "nanoseconds", or "" if it is none of them.
    """
    for unit, per_millisecond in (("seconds", 1e-3), ("microseconds", 1e3), ("nanoseconds", 1e6)):
        if earliest * per_millisecond <= value <= latest * per_millisecond:
            return unit
    return ""


def format_time(milliseconds: int) -> str:
    """Return ISO 8601 in UTC with milliseconds, the inverse of parse_time."""
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
