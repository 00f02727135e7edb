"""The catalogue of words: the same codes and values in every language, in texts that people can read."""

import re
import string

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.codes import CURRENCIES
from vedette.events import NO_CODE, Alert, Decision, Reason
from vedette.wording import codes, languages, reason, templates, text_of

_VALUES = {
    "money": 123_450, "span": 90.0, "window": "10min", "rate": 2.4, "ratio": 3.2, "share": 0.25, "number": 4, "hour": 3,
    "action": "review",
}  # fmt: skip


def _fields(template: str) -> dict[str, str]:
    """Return the values of a template with their format; the noun of a number differs between languages."""
    parts = string.Formatter().parse(template)
    return {name: "noun" if "|" in (spec or "") else spec or "" for _, name, spec, _ in parts if name}


def _sample(code: str) -> dict[str, int | float | str]:
    fields = _fields(templates("en")[code])
    return {"currency": "EUR"} | {
        name: _VALUES.get(spec, 3 if spec == "noun" else "risk") for name, spec in fields.items()
    }


@pytest.mark.parametrize("code", codes())
def test_every_code_says_the_same_in_every_language(code: str) -> None:
    """Each language has a text for the code, with the same values in the same formats, and renders it completely."""
    for language in languages():
        assert _fields(templates(language)[code]) == _fields(templates("en")[code])
        text = text_of(reason(code, _sample(code)), language)
        assert not re.search(r"[{}|]|nan|None|  |\.$", text), text
        assert text[0].islower() or text[0].isdigit() or code.startswith("vendor-"), text


@pytest.mark.parametrize("language", languages())
def test_a_language_is_complete(language: str) -> None:
    """Codes, units, rates and actions are those of English."""
    other, english = languages()[language], languages()["en"]
    for part in ("texts", "units", "rates", "actions"):
        assert getattr(other, part).keys() == getattr(english, part).keys()


@pytest.mark.parametrize(
    ("code", "values", "english", "spanish"),
    [
        ("payments-close", {"gap": 40.0, "usual": 190_000.0},
         "40 seconds after the previous payment; usually it is 2 days",
         "40 segundos después del pago anterior; lo habitual es 2 días"),
        ("amount-high", {"amount": 1000, "usual": 100, "ratio": 10.0, "currency": "JPY"},
         "1,000 JPY is 10 times the account's usual amount of 100 JPY",
         "1,000 JPY es 10 veces el importe habitual de la cuenta, 100 JPY"),
        ("payments-many", {"count": 1, "window": "1h", "usual": 0.2},
         "1 payment in 1 hour; the account usually makes 1 a week",
         "1 pago en 1 hora; la cuenta suele hacer 1 a la semana"),
        ("threshold-probability", {"probability": 0.999, "least": 0.055, "action": "decline"},
         "fraud probability of 99.9%; the policy declines from 5.5%",
         "probabilidad de fraude del 99.9 %; la política rechaza desde el 5.5 %"),
    ],
)  # fmt: skip
def test_values_read_as_people_write_them(
    code: str, values: dict[str, float | str], english: str, spanish: str
) -> None:
    """Money has its currency and places, one payment and two payments differ, units run from seconds to days."""
    assert text_of(reason(code, values), "en") == english
    assert text_of(reason(code, values), "es") == spanish


@given(st.floats(0, 1e9), st.sampled_from(sorted(CURRENCIES)), st.integers(0, 10**15))
def test_any_value_has_a_text(seconds: float, currency: str, minor: int) -> None:
    """Every span of time and every amount of any currency has a text."""
    said = reason("payments-close", {"gap": seconds, "usual": seconds})
    assert re.match(r"[\d,]+ (second|minute|hour|day)s? after", said.text)
    assert currency in reason("amount-small", {"amount": minor, "usual": minor, "currency": currency}).text


@pytest.mark.parametrize(
    "strange",
    [
        ("none-such", {}),
        ("amount-high", {}),
        ("amount-high", {"amount": "x", "usual": 1, "ratio": 2, "currency": "EUR"}),
        ("amount-high", {"amount": 1, "usual": 1, "ratio": 2, "currency": "XXQ"}),
        ("hour-never", {"hour": "x", "of": 3}),
    ],
)
def test_a_reason_of_another_version_keeps_its_text(strange: tuple[str, dict[str, int | str]]) -> None:
    """Unknown codes, missing values and values of another type are shown as written, in any language."""
    code, values = strange
    said = Reason(code=code, text="as it was", weight=1.0, values=values)
    assert {text_of(said, language) for language in ("en", "es", "fr")} == {"as it was"}


@pytest.mark.parametrize("event", [Decision, Alert])
def test_reasons_of_the_former_form_are_read(event: type[Decision | Alert]) -> None:
    """A decision or alert with plain-text reasons is read; written again, it has codes."""
    old = {
        "transaction_id": "t", "account_id": "a", "event_time": 1, "amount": 1, "currency": "EUR", "action": "review",
        "score": 0.5, "expected_loss": 1, "reasons": ["too fast", "new device"], "rules": [], "model": "m",
        "policy": "p", "features_hash": "h", "alert_id": "x",
    }  # fmt: skip
    read = msgspec.json.decode(msgspec.json.encode(old), type=event)
    assert read.reasons == [Reason(code=NO_CODE, text=text, weight=0.0) for text in ("too fast", "new device")]
    assert msgspec.json.decode(msgspec.json.encode(read), type=event) == read
    assert text_of(read.reasons[0], "es") == "too fast"
