"""The languages that ship: a text per code, and the nouns of units."""

import functools
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import msgspec

DEFAULT_LANGUAGE = "en"
"""The language of texts in the log."""


class Language(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One language.

    Attributes:
        percent: A percentage, `{}` stands for the number.
        units: Singular and plural of a unit, with a vertical bar between, by unit.
        rates: A number of payments per span of time, `{}` stands for the number, by span.
        actions: What the policy does, by action.
        texts: Template of the text by code; the format after a colon is one of vedette.wording.formats.
    """

    percent: str
    units: dict[str, str]
    rates: dict[str, str]
    actions: dict[str, str]
    texts: dict[str, str]


@functools.cache
def languages() -> Mapping[str, Language]:
    """Return the languages by their ISO 639-1 code."""
    folder = resources.files("vedette.wording") / "languages"
    return {
        Path(entry.name).stem: msgspec.convert(tomllib.loads(entry.read_text(encoding="utf-8")), Language)
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    }


def templates(language: str) -> Mapping[str, str]:
    """Return the templates of a language by code; those of the default language if it is unknown."""
    known = languages()
    return known.get(language, known[DEFAULT_LANGUAGE]).texts


def codes() -> tuple[str, ...]:
    """Return every code of the catalogue, in its order."""
    return tuple(templates(DEFAULT_LANGUAGE))
