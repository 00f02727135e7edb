"""The texts of pages and messages, in every language with a file."""

from pathlib import Path

from adapters.locales import DEFAULT, Locales

_LOCALES = Locales(Path(__file__).with_name("locales"))

preferred_language = _LOCALES.preferred


def languages() -> dict[str, dict[str, str]]:
    """Return the texts by key, by language code."""
    return _LOCALES.languages


def say(language: str, key: str, **values: str) -> str:
    """Return a text in a language, with values filled in."""
    return _LOCALES.say(language, key, **values)


__all__ = ["DEFAULT", "languages", "preferred_language", "say"]
