"""What lists show: a limit, the newest first, and one line for each entry."""

import io

import pytest
from rich.console import Console
from rich.table import Table

from cli.cells import cell, one_line
from cli.dlq import select_letters
from streams.history.dead_letters import DeadLetter


def letter(number: int) -> DeadLetter:
    """A dead letter; the later ones are spread over partitions."""
    return DeadLetter(
        partition=number % 3, offset=number, at=1000 + number, topic="transactions", source="0:1", kind="", reason="x",
        key=None, value=b"",
    )  # fmt: skip


@pytest.mark.parametrize(("oldest_first", "expected"), [(False, [9, 8, 7]), (True, [0, 1, 2])])
def test_dead_letters_are_limited_and_in_order_of_time(oldest_first: bool, expected: list[int]) -> None:
    """Across all partitions the newest come first, or the oldest on request, with the total number."""
    by_partition = sorted((letter(number) for number in range(10)), key=lambda each: (each.partition, each.offset))
    shown, total = select_letters(iter(by_partition), 3, oldest_first)
    assert ([each.offset for each in shown], total) == (expected, 10)


def test_a_line_cannot_be_forged() -> None:
    """Line breaks and terminal codes of a message are shown as escapes."""
    assert one_line("a\nb\x1b[2J\u2028c é") == "a\\nb\\x1b[2J\\u2028c é"


def test_a_name_is_neither_markup_nor_an_instruction() -> None:
    """A merchant's name in a table is shown literally, whatever rich or a terminal would make of it."""
    table = Table(box=None, show_header=False)
    for name in ("[/]", "[link=https://evil.example]x[/link]", "\x1b]0;x\x07", "a\nb", "\x9b2J"):
        table.add_row(cell(name))
    console = Console(width=80, force_terminal=True, color_system="truecolor", file=io.StringIO())
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    lines = [line.strip() for line in console.file.getvalue().splitlines()]
    assert lines == ["[/]", "[link=https://evil.example]x[/link]", "\\x1b]0;x\\x07", "a\\nb", "\\x9b2J"]
