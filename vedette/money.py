"""Amounts are integers in the currency's minor unit; floats never hold money."""

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

from vedette.codes import CURRENCIES
from vedette.errors import InputError

_LARGEST = Decimal(10) ** 15


def exponent(currency: str) -> int:
    """Return the number of decimal places of a currency (ISO 4217).

    Raises:
        InputError: There is no such currency.
    """
    try:
        return CURRENCIES[currency]
    except KeyError as error:
        raise InputError(f"{currency!r} is not an ISO 4217 currency", remedy="write its code, such as EUR") from error


def to_minor(amount: Decimal | str | float, currency: str) -> int:
    """Return the whole minor units of an amount in major units, rounded half to even.

    A float is read by its shortest decimal form, so 0.1 is ten cents exactly.

    Raises:
        InputError: The amount is not a finite number or exceeds 10**15 minor units, or there is no such currency.
    """
    try:
        value = Decimal(str(amount)).scaleb(exponent(currency))
    except InvalidOperation as error:
        raise InputError(f"amount {amount!r} is not a number") from error
    if not value.is_finite() or abs(value) > _LARGEST:
        raise InputError(f"amount {amount!r} is not a finite number of at most 10**15 minor units")
    return int(value.to_integral_value(ROUND_HALF_EVEN))


def format_amount(minor: int, currency: str) -> str:
    """Return a readable amount, such as '1,234.50 EUR'."""
    places = exponent(currency)
    return f"{Decimal(minor).scaleb(-places):,.{places}f} {currency}"
