"""Refusals as problem documents (RFC 9457) with field, value and remedy."""

import re
from http import HTTPStatus
from typing import Any

import msgspec

from vedette.card_numbers import has_card_number, masked
from vedette.client import Problem, ProblemError
from vedette.errors import CardNumberError, InputError

MEDIA_TYPE = "application/problem+json"
_PREFIX = "urn:vedette:problem:"
_FIELD = re.compile(r"`(?:\$\.)?(\w+)")
_SHOWN = 200
"""Maximum number of characters of a value in a response."""


def problem(kind: str, status: int, detail: str, *, retry_after_s: int = 0, **more: Any) -> ProblemError:
    """Return a problem of a kind, to be raised; see Problem and ProblemError for the arguments.

    Card numbers in what it repeats are cut to their first six and last four digits.
    """
    if (value := more.get("value")) is not None and has_card_number(str(value)):
        more["value"] = masked(str(value))
    detail = masked(detail)
    title = _TITLES.get(kind) or HTTPStatus(status).phrase
    return ProblemError(
        Problem(type=_PREFIX + kind, title=title, status=status, detail=detail, **more), retry_after_s=retry_after_s
    )


_TITLES = {
    "invalid-event": "The event cannot be read",
    "card-number": "Card numbers are not accepted here",
    "invalid-request": "The request cannot be read",
    "other-body": "This id belongs to another payment",
    "unknown-transaction": "The transaction is not known here",
    "undecided": "The transaction is not decided yet",
    "ambiguous": "The id belongs to payments of several accounts",
    "too-many-in-flight": "Too many payments are waiting",
    "overloaded": "The decision would come too late",
    "stream-behind": "The decisions are too far behind",
    "broker-away": "The broker does not answer",
    "topic-missing": "A topic is missing",
    "starting": "The gateway is starting",
    "not-acknowledged": "It is not known whether the payment was published",
    "not-published": "The broker does not take the payment",
    "unknown-webhook": "There is no such webhook",
    "preview-off": "There are no previews here",
    "preview-away": "No preview now",
    "decided-before": "The payment has been decided before",
    "too-many-payments": "Too many payments of this credential",
}


def invalid_event(error: InputError, body: bytes) -> ProblemError:
    """Return the refusal of an event that cannot be read.

    Args:
        error: The reason, see vedette.reading.
        body: The event as it came.
    """
    reason: str = error.args[0]
    found = _FIELD.search(reason)
    field = found[1] if found else ""
    remedy = error.remedy or "`vedette schema` prints the form of every event"
    return problem("invalid-event", 422, reason, field=field, value=_value(body, field), remedy=remedy)


def card_number(error: CardNumberError) -> ProblemError:
    """Return the refusal of an event with a card number, which the answer does not repeat."""
    found = _FIELD.search(error.args[0])
    return problem(
        "card-number", 422, error.args[0], field=found[1] if found else "",
        remedy="send a token in its place, or have the operator set [cards] numbers to tokenise",
    )  # fmt: skip


def _value(body: bytes, field: str) -> str | int | float | bool | None:
    if not field:
        return None
    try:
        content = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    value = content.get(field) if isinstance(content, dict) else None
    if isinstance(value, str):
        return value[:_SHOWN]
    return value if isinstance(value, int | float) else None


def again(refused: ProblemError) -> ProblemError:
    """Return a refusal to be raised once more: an exception that is raised twice keeps the frames of both."""
    return ProblemError(refused.problem, refused.retry_after_s)


def broker_away() -> ProblemError:
    """Return the refusal of everything while the broker does not answer."""
    return problem(
        "broker-away", 503, "the broker does not answer, so nothing was accepted", retry_after_s=2,
        remedy="send it again under the same id",
    )  # fmt: skip


def starting() -> ProblemError:
    """Return the refusal of everything until the decisions of the look-back are read."""
    return problem(
        "starting", 503, "the gateway is still reading the decisions of its look-back", retry_after_s=1,
        remedy="send it again under the same id",
    )  # fmt: skip


def not_acknowledged() -> ProblemError:
    """Return the answer about an event of which nobody knows whether it was published."""
    return problem(
        "not-acknowledged", 503, "the broker has not acknowledged the event in time", retry_after_s=1,
        remedy="send it again under the same id: it is decided once",
    )  # fmt: skip


def missing_topic(name: str) -> ProblemError:
    """Return the refusal of payments while a topic is missing."""
    return problem(
        "topic-missing", 503, f"the topic {name} is not there, so nothing was accepted", retry_after_s=5,
        remedy="the operator creates it with `vedette topics apply`",
    )  # fmt: skip
