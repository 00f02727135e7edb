"""Which commands a test runs: it claims them by `@pytest.mark.runs("access list")`, and fails if it does not run them.

A command is run inside the process of the tests, or as a child process; its `--help` does not count.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import typer
import typer.core

from cli.main import app

_MAIN = ("from cli.main import main; main()", "cli")
"""What runs the command in a child process: the text after `-c`, or the module after `-m`."""
_WITH_VALUE = ("--settings",)

run: set[str] = set()
"""The commands that were run since the present test began."""


@cache
def every_command() -> frozenset[str]:
    """Return the full names of all commands, without that of the program."""
    return frozenset(_names(typer.main.get_command(app), ""))


def _names(command: Any, name: str) -> Iterator[str]:
    below = getattr(command, "commands", None)
    if below is None or (command.invoke_without_command and name):
        yield name
    for word, inner in (below or {}).items():
        yield from _names(inner, f"{name} {word}".strip())


def note_commands() -> None:
    """Note from now on which commands are run inside this process."""
    for kind in (typer.core.TyperCommand, typer.core.TyperGroup):
        kind.invoke = _noting(kind.invoke)  # type: ignore[method-assign]


def _noting(invoke: Any) -> Any:
    def noted(command: Any, context: Any) -> Any:
        words: list[str] = []
        above = context
        while above.parent is not None:
            words.insert(0, above.info_name)
            above = above.parent
        run.add(" ".join(words))  # of groups, only those that are commands too are ever asked for
        return invoke(command, context)

    return noted


def note_child(arguments: Sequence[Any]) -> None:
    """Note the command that a child process is, if it is one of Vedette's."""
    words = [str(argument) for argument in arguments]
    begin = next((number for number, word in enumerate(words) if number and word in _MAIN), None)
    if begin is None:
        return
    name, rest = "", iter(words[begin + 1 :])
    for word in rest:
        if word in _WITH_VALUE:
            next(rest, None)
        elif not word.startswith("-"):
            name = f"{name} {word}".strip()
        if name in every_command():
            run.add(name)
        if not any(each.startswith(name) for each in every_command()):
            return
