"""The transaction of one message, without the way through a frame: somebody waits for its answer."""

from typing import Any

import msgspec

from vedette.clock import parse_time
from vedette.codes import country_code, currency_code, merchant_category
from vedette.errors import InputError
from vedette.events import Transaction, canonical


def transaction_of(record: dict[str, Any]) -> Transaction:
    """Return the transaction that the mapping `iso8583` gives.

    Args:
        record: See message.record_of.

    Raises:
        InputError: A value is not valid; the reason names the field.
    """
    if not record.get("de49"):
        raise InputError("DE 49 is missing")
    said = {
        "transaction_id": record["id"],
        "account_id": record["account"],
        "amount": int(record["amount"]),
        "currency": currency_code(record["de49"]),
        "event_time": parse_time(record["time"]),
        "merchant_id": record.get("de42") or record.get("de41"),
        "mcc": merchant_category(record["de18"]) if record.get("de18") else None,
        "channel": record["channel"],
        "country": country_code(record["country"]) if record["country"] else None,
        "kind": record["kind"],
        "original_id": record["original"],
    }
    try:
        event = canonical(msgspec.convert(said, Transaction))
    except msgspec.ValidationError as error:
        raise InputError(str(error)) from error
    if reason := event.missing():
        raise InputError(reason)
    return event
