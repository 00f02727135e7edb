"""Decoding of single events from outside, with a reason in words for unreadable ones.

The worker's dead letters and the gateway's refusals have the same reasons, because both come from here.
"""

import re
from typing import TypeVar

import msgspec

from vedette.clock import likely_unit
from vedette.errors import InputError
from vedette.events import MAX_TIME, MIN_TIME, Label, Transaction, canonical

UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
"""Errors of decoding JSON: it is not valid, not UTF-8, or nested too deeply."""

_FIELD = re.compile(rb'"(\w+)"\s*:')
_OUT_OF_BOUNDS = re.compile(r"^Expected `int` [<>]=.* - at `\$\.(event_time|labelled_at|account_opened_at)`$")

_EventT = TypeVar("_EventT", Transaction, Label)


_transaction = msgspec.json.Decoder(Transaction)
_label = msgspec.json.Decoder(Label)


def read_transaction(value: bytes) -> Transaction:
    """Return a transaction from JSON, in its canonical form.

    Raises:
        InputError: It cannot be read; the message is the reason that a dead letter would have.
    """
    event = _decoded(_transaction, value)
    if reason := event.missing():
        raise InputError(reason)
    return canonical(event)


def read_label(value: bytes) -> Label:
    """Return a label from JSON, in its canonical form.

    Raises:
        InputError: See read_transaction.
    """
    return canonical(_decoded(_label, value))


def _decoded(decoder: msgspec.json.Decoder[_EventT], value: bytes) -> _EventT:
    try:
        return decoder.decode(value)
    except UNREADABLE as error:
        raise InputError(why_unreadable(error, value)) from error


def too_far_ahead(event_time: int, arrived: int) -> str:
    """Return the reason to refuse an event that is dated too far ahead of its arrival; both in milliseconds."""
    ahead = (event_time - arrived) / 1000
    return f"`event_time` {event_time} is {ahead:,.0f} s ahead of the message's own time"


def why_unreadable(error: Exception, value: bytes | None) -> str:
    """Return why decoding failed; msgspec gives neither field nor position of text that is not UTF-8.

    Args:
        error: One of UNREADABLE.
        value: The bytes to decode.
    """
    if not value:
        return "the message is empty"
    if not isinstance(error, UnicodeDecodeError):
        return str(error) + _unit_hint(str(error), value)
    place = _utf8_error(value)
    fields = _FIELD.findall(value[:place])
    where = f" - at `$.{fields[-1].decode()}`" if fields else ""
    return f"not UTF-8 ({error.reason}, byte {place}){where}"


def _unit_hint(message: str, value: bytes) -> str:
    """Return a hint at the probable unit of a time outside the bounds."""
    field = _OUT_OF_BOUNDS.search(message)
    if not field:
        return ""
    number = re.search(rb'"%s"\s*:\s*(\d{1,20})' % field[1].encode(), value)  # the rest may not be JSON
    unit = likely_unit(int(number[1]), MIN_TIME, MAX_TIME) if number else ""
    return f": it looks like {unit}, write milliseconds" if unit else ""


def _utf8_error(value: bytes) -> int:
    try:
        value.decode()
    except UnicodeDecodeError as error:
        return error.start
    return 0
