"""Amounts are integers in the currency's minor unit; floats never hold money."""

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

from vedette.errors import InputError

# ISO 4217 currencies whose minor unit is not 1/100.
_EXPONENTS = {
    **dict.fromkeys(
        ("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF",
         "XOF", "XPF"), 0,
    ),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}  # fmt: skip

_LARGEST = Decimal(10) ** 15


def exponent(currency: str) -> int:
    """Number of decimal places of a currency (ISO 4217), 2 unless listed."""
    return _EXPONENTS.get(currency, 2)


def to_minor(amount: Decimal | str | float, currency: str) -> int:
    """Whole minor units of an amount in major units, rounded half to even.

    A float is read by its shortest decimal form, so 0.1 is ten cents exactly.

    Raises:
        InputError: Not a finite number, or beyond 10**15 minor units.
    """
    try:
        value = Decimal(str(amount)).scaleb(exponent(currency))
    except InvalidOperation as error:
        raise InputError(f"amount {amount!r} is not a number") from error
    if not value.is_finite() or abs(value) > _LARGEST:
        raise InputError(f"amount {amount!r} is not a finite number of at most 10**15 minor units")
    return int(value.to_integral_value(ROUND_HALF_EVEN))


def format_amount(minor: int, currency: str) -> str:
    """An amount for people, such as '1,234.50 EUR'."""
    places = exponent(currency)
    return f"{Decimal(minor).scaleb(-places):,.{places}f} {currency}"
