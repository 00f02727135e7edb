"""Reasons in words, in the language of whoever reads them."""

import functools
from collections.abc import Mapping

from vedette.errors import VedetteError
from vedette.events import Reason
from vedette.wording.catalogue import DEFAULT_LANGUAGE, languages
from vedette.wording.formats import Template

Value = int | float | str

_DIGITS = 4


def reason(code: str, values: Mapping[str, Value], weight: float = 0.0) -> Reason:
    """Return a reason of the catalogue, worded in the default language.

    Args:
        code: A code of the catalogue.
        values: The values of its template; amounts in minor units of the value `currency`.
        weight: What it adds to the model's log-odds; 0 for a reason of the policy.
    """
    return Reason(
        code=code, text=_worded(code, values, DEFAULT_LANGUAGE), weight=round(weight, _DIGITS), values=dict(values)
    )


def text_of(said: Reason, language: str) -> str:
    """Return the text of a reason in a language.

    A reason whose code is not in the catalogue, such as a rule's, has the text that the policy gives for the language.
    Without one, and for a reason of a version with other codes or values, it is the text in the log.
    """
    if language in said.texts:
        return said.texts[language]
    known = languages()
    if language == DEFAULT_LANGUAGE or language not in known or said.code not in known[language].texts:
        return said.text
    try:
        return _worded(said.code, said.values, language)
    except (KeyError, ValueError, TypeError, AttributeError, VedetteError):
        return said.text  # whoever wrote it has another catalogue


def _worded(code: str, values: Mapping[str, Value], language: str) -> str:
    return _template(code, language).fill(values)


@functools.cache
def _template(code: str, language: str) -> Template:
    known = languages()[language]
    return Template(known.texts[code], known)
