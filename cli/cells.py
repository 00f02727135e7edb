"""Cells of tables whose text somebody else has chosen."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text


def one_line(text: str) -> str:
    """Return text with control characters and line breaks as escapes, so that it cannot forge a line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def cell(text: str) -> "Text":
    """Return text as a cell that says just that: neither the terminal nor rich takes it for an instruction."""
    from rich.text import Text

    return Text(one_line(text))
