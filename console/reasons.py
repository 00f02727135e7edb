"""Reasons of decisions as texts, in the reader's language."""

from collections.abc import Iterable

from vedette.events import Reason
from vedette.wording import text_of


def reason_texts(reasons: Iterable[Reason | str] | None, language: str) -> list[str]:
    """Return the texts of reasons; the archive has texts alone, as they are in the log."""
    return [reason if isinstance(reason, str) else text_of(reason, language) for reason in reasons or ()]
