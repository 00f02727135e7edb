"""How values appear in a text: money with its currency, times in their largest unit, numbers with their noun."""

import string
from collections.abc import Callable, Mapping
from typing import Any

from vedette.money import format_amount
from vedette.wording.catalogue import Language

_SPANS = ((86_400.0, "day"), (3_600.0, "hour"), (60.0, "minute"), (1.0, "second"))
_RATES = ((1, "day"), (7, "week"), (30, "month"))

Format = Callable[[Any, Mapping[str, Any]], str]
"""Takes a value and all values of the text, for its currency."""


class Template:
    """A text with places for values, as in `{amount:money}`.

    The format after the colon is one of: `money` (minor units of the value `currency`), `span` (seconds), `window`
    (name of a window, such as 10min), `rate` (payments per day), `ratio`, `share` (percentage), `number`, `hour` (of
    the day, UTC), `action` (of the policy), or a noun as `singular|plural`, which the number precedes. Without one, a
    text appears as it is.

    Args:
        text: The text with its places.
        language: The language of units and nouns.

    Raises:
        ValueError: A format is unknown, or the text has a brace that is not closed.
    """

    def __init__(self, text: str, language: Language) -> None:
        self._language = language
        self._parts = [
            (literal, name or "", self._format(spec or "") if name is not None else None)
            for literal, name, spec, _ in string.Formatter().parse(text)
        ]

    def fill(self, values: Mapping[str, Any]) -> str:
        """Return the text.

        Raises:
            KeyError: A value is missing.
            ValueError: A value is of another type than its format expects.
        """
        filled = ""
        for literal, name, form in self._parts:
            filled += literal
            if form is not None:
                filled += form(values[name], values)
        return filled

    def _format(self, spec: str) -> "Format":
        """Return the function that gives a value as text, in the light of the other values."""
        if not spec:
            return lambda value, _: str(value)
        if "|" in spec:
            return lambda value, _: noun(value, spec)
        if spec == "money":
            return lambda value, values: format_amount(int(value), str(values.get("currency")))
        form = getattr(self, f"_{spec}", None)
        if form is None:
            raise ValueError(f"{spec!r} is not a format of a text")
        return lambda value, _: form(value)

    def _span(self, seconds: float) -> str:
        for length, unit in _SPANS:
            # From two units on: 36 hours rather than 2 days, 90 minutes rather than 2 hours.
            if seconds >= 2 * length or unit == "second":
                return noun(round(seconds / length), self._language.units[unit])
        raise AssertionError

    def _window(self, name: str) -> str:
        return self._language.units[name]

    def _action(self, name: str) -> str:
        return self._language.actions[name]

    def _rate(self, per_day: float) -> str:
        for days, span in _RATES:
            if per_day * days >= 1 or span == "month":
                return self._language.rates[span].format(max(round(per_day * days), 1))
        raise AssertionError

    def _ratio(self, value: float) -> str:
        return f"{value:,.1f}".removesuffix(".0") if value < 10 else f"{value:,.0f}"

    def _share(self, share: float) -> str:
        percent = 100 * share
        digits = 1 if percent < 10 or 99 < percent < 100 else 0
        return self._language.percent.format(f"{percent:,.{digits}f}".removesuffix(".0"))

    def _number(self, value: float) -> str:
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"

    def _hour(self, hour: float) -> str:
        return f"{int(hour):02}:00 UTC"


def noun(number: float, forms: str) -> str:
    """Return a number with its noun, whose forms are `singular|plural`."""
    singular, _, plural = forms.partition("|")
    return f"{number:,.0f} {singular if number == 1 else plural}"
