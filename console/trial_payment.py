"""A payment of one's own making, from a form: its fields, examples, and the amount at which its decision changes."""

from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from decisions.policy_form import ACTIONS
from vedette.clock import DAY, HOUR, MINUTE, format_time, parse_time
from vedette.errors import InputError
from vedette.events import Action, Decision, Transaction, canonical
from vedette.money import exponent, to_minor

FIELDS = (
    "account_id", "amount", "currency", "event_time", "payee", "merchant_id", "mcc", "channel", "country", "device_id",
    "ip_address", "balance", "account_type", "account_opened_at", "lat", "lon",
)  # fmt: skip
"""Fields of the form, in its order: amounts in major units, times as text in UTC."""
NEEDED = ("account_id", "amount", "currency", "event_time")
_MONEY, _TIMES, _NUMBERS = ("amount", "balance"), ("event_time", "account_opened_at"), ("lat", "lon")
_LONGEST = 64

EXAMPLES = ("usual", "takeover", "tested_card", "mule", "scam")
"""Examples, whose names and stories are texts of the pages."""

Preview = Callable[[Transaction], Awaitable[Decision]]


def example(name: str, now: int) -> dict[str, str]:
    """Return the fields of an example, or of an empty form."""
    moment = format_time(now - MINUTE)[:19]
    opened = format_time(now - 900 * DAY)[:10]
    blank = {"currency": "EUR", "event_time": moment}
    made = {
        "usual": {
            "account_id": "example-1", "amount": "23.40", "merchant_id": "corner-shop", "mcc": "5411", "channel": "pos",
            "country": "ES", "balance": "1850.00", "account_opened_at": opened,
        },
        "takeover": {
            "account_id": "example-2", "amount": "4800.00", "payee": "payee-unknown", "channel": "transfer",
            "country": "RO", "device_id": "device-unknown", "ip_address": "203.0.113.7", "balance": "4950.00",
            "account_opened_at": opened, "event_time": format_time(now // DAY * DAY - 21 * HOUR)[:19],
        },
        "tested_card": {
            "account_id": "example-3", "amount": "1.00", "merchant_id": "gift-cards", "mcc": "5947", "channel": "ecom",
            "country": "US", "device_id": "device-shared", "ip_address": "198.51.100.9",
        },
        "mule": {
            "account_id": "example-4", "amount": "2990.00", "payee": "exchange-desk", "channel": "transfer",
            "country": "ES", "balance": "3000.00", "account_opened_at": format_time(now - 9 * DAY)[:10],
        },
        "scam": {
            "account_id": "example-5", "amount": "9200.00", "payee": "safe-account", "channel": "phone",
            "country": "ES", "balance": "9650.00", "account_opened_at": opened,
        },
    }  # fmt: skip
    return blank | made.get(name, {})


def payment_of(fields: Mapping[str, str], number: str) -> Transaction:
    """Return the payment of a form.

    Args:
        fields: Values by name; empty ones are absent.
        number: Its id.

    Raises:
        InputError: A field is missing or not valid; the message names it.
    """
    given = {name: fields[name].strip() for name in FIELDS if fields.get(name, "").strip()}
    for name in NEEDED:
        if name not in given:
            raise InputError(f"`{name}` is missing")
    currency = given["currency"].upper()
    plain: dict[str, Any] = {**given, "currency": currency, "transaction_id": number}
    readers: dict[str, Callable[[str], Any]] = {
        **dict.fromkeys(_MONEY, lambda text: _minor(text, currency)),
        **dict.fromkeys(_TIMES, parse_time),
        **dict.fromkeys(_NUMBERS, float),
    }
    plain |= {name: _named(name, read, given[name]) for name, read in readers.items() if name in given}
    try:
        payment = canonical(msgspec.convert(plain, Transaction))
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$.")
        raise InputError(f"`{place.rstrip('`')}`: {message}" if place else message) from error
    if missing := payment.missing():
        raise InputError(missing)
    return payment


async def turning_amount(payment: Transaction, decided: Decision, preview: Preview) -> tuple[int, Action] | None:
    """Return the largest amount up to that of a flagged payment at which the decision is milder, and that decision.

    Both sides are asked, so the decision is milder at this amount, and not at one minor unit more. None if the
    payment is approved, or is decided no milder at one minor unit.
    """
    low, high = 1, payment.amount
    if decided.action == "approve" or low >= high:
        return None
    milder = await preview(msgspec.structs.replace(payment, amount=low))
    if not _is_milder(milder, decided):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        asked = await preview(msgspec.structs.replace(payment, amount=middle))
        if _is_milder(asked, decided):
            low, milder = middle, asked
        else:
            high = middle
    return low, milder.action


def _is_milder(one: Decision, other: Decision) -> bool:
    return ACTIONS.index(one.action) < ACTIONS.index(other.action)


def _minor(text: str, currency: str) -> int:
    minor = to_minor(text, currency)
    if Decimal(text).scaleb(exponent(currency)) != minor:
        raise InputError(f"{currency} has {exponent(currency)} decimal places")
    return minor


def _named(name: str, read: Callable[[str], Any], text: str) -> Any:
    try:
        return read(text)
    except (InputError, ValueError) as error:
        raise InputError(f"`{name}` {text[:_LONGEST]!r}: {error.args[0]}") from error
