import re
from collections.abc import Iterator

import click
import pytest
import typer

from cli.main import app


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """Return a command and all below it, with their full names."""
    yield name, command
    for below, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, f"{name} {below}")


ALL = dict(commands(typer.main.get_command(app), "vedette"))


@pytest.mark.parametrize("name", ALL)
def test_every_command_and_option_has_a_help_text(name: str) -> None:
    """A command says in a sentence what it does, and so does each of its arguments and options."""
    command = ALL[name]
    assert re.match(r"[A-Z].*\.", (command.help or "").strip(), re.DOTALL), f"{name} has no sentence"
    silent = [parameter.name for parameter in command.params if not getattr(parameter, "help", None)]
    assert not silent, f"{name}: no help text for {', '.join(map(str, silent))}"
