"""How values appear in a text: money with its currency, times in their largest unit, numbers with their noun."""

import string
from collections.abc import Mapping, Sequence
from typing import Any

from vedette.money import format_amount
from vedette.wording.catalogue import Language

_SPANS = ((86_400.0, "day"), (3_600.0, "hour"), (60.0, "minute"), (1.0, "second"))
_RATES = ((1, "day"), (7, "week"), (30, "month"))


class Template(string.Formatter):
    """Fills the templates of one language.

    The format after the colon is one of: `money` (minor units of the value `currency`), `span` (seconds), `window`
    (name of a window, such as 10min), `rate` (payments per day), `ratio`, `share` (percentage), `number`, `hour` (of
    the day, UTC), `action` (of the policy), or a noun as `singular|plural`, which the number precedes. Without one, a
    text appears as it is.
    """

    def __init__(self, language: Language) -> None:
        self._language = language

    def fill(self, template: str, values: Mapping[str, Any]) -> str:
        """Return the text.

        Raises:
            KeyError: A value is missing.
            ValueError: A value is of another type than its format expects.
        """
        return self.vformat(template, (_Currency(values.get("currency")),), values)

    def get_value(self, key: int | str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Return a value by name, with the currency beside it."""
        return kwargs[str(key)], args[0]

    def format_field(self, value: Any, format_spec: str) -> str:
        """Return a value as text."""
        content, currency = value
        if not format_spec:
            return str(content)
        if "|" in format_spec:
            return noun(content, format_spec)
        if format_spec == "money":
            return format_amount(int(content), currency.code)
        return str(getattr(self, f"_{format_spec}")(content))

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


class _Currency:
    """The currency of a text's amounts."""

    def __init__(self, code: Any) -> None:
        self.code = str(code)


def noun(number: float, forms: str) -> str:
    """Return a number with its noun, whose forms are `singular|plural`."""
    singular, _, plural = forms.partition("|")
    return f"{number:,.0f} {singular if number == 1 else plural}"
