"""The words of pages and messages, in every language there is a file for."""

import tomllib
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).with_name("locales")

DEFAULT = "en"


@cache
def languages() -> dict[str, dict[str, str]]:
    """By language code, the words by key."""
    return {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(_FOLDER.glob("*.toml"))}


def choose(wanted: str) -> str:
    """The first language we have of an Accept-Language header (RFC 9110, 12.5.4), by its weights; else English."""
    ranked: list[tuple[float, str]] = []
    for part in wanted.split(","):
        tag, _, weight = part.strip().partition(";q=")
        code = tag.split("-")[0].lower()
        try:
            ranked.append((-float(weight or 1), code))
        except ValueError:
            continue
    return next((code for weight, code in sorted(ranked) if weight < 0 and code in languages()), DEFAULT)


def say(language: str, key: str, **values: str) -> str:
    """Words in a language, with values put in."""
    return languages().get(language, languages()[DEFAULT])[key].format(**values)
