"""Texts of pages in several languages: one TOML file of keys and texts for each language."""

import tomllib
from functools import cached_property
from pathlib import Path

DEFAULT = "en"


class Locales:
    """The texts in a folder, read when they are first needed.

    Args:
        folder: Folder of files such as `en.toml`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @cached_property
    def languages(self) -> dict[str, dict[str, str]]:
        """Return the texts by key, by language code."""
        files = sorted(self._folder.glob("*.toml"))
        return {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in files}

    def preferred(self, wanted: str) -> str:
        """Return the best language available for an Accept-Language header (RFC 9110, 12.5.4); else English."""
        ranked: list[tuple[float, str]] = []
        for part in wanted.split(","):
            tag, _, weight = part.strip().partition(";q=")
            code = tag.split("-")[0].lower()
            try:
                ranked.append((-float(weight or 1), code))
            except ValueError:
                continue
        return next((code for weight, code in sorted(ranked) if weight < 0 and code in self.languages), DEFAULT)

    def say(self, language: str, key: str, **values: object) -> str:
        """Return a text in a language, with values filled in."""
        return self.languages.get(language, self.languages[DEFAULT])[key].format(**values)
