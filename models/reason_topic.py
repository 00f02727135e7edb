"""A topic: features of similar meaning, with what can be said of them."""

from collections.abc import Callable
from typing import NamedTuple

from models.statements import Facts, Values


class Statement(NamedTuple):
    """A statement: its code in the catalogue of words, and its values for a payment, None if it does not hold."""

    code: str
    values: Callable[[Facts], Values | None]


class ReasonTopic(NamedTuple):
    """Features with similar meaning, and the statements that their contributions support, the best one first."""

    features: tuple[str, ...]
    statements: tuple[Statement, ...]
