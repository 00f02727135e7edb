"""Every command is run by a test, which says so by the mark `runs`."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.commands_run import every_command

TESTS = Path(__file__).parents[1]
NEVER = {
    "bench idle": "starts a whole demo, which takes minutes where other tests run",
    "stack fetch-kafka": "downloads; scripts/install-test-deps runs it before the tests",
}
"""Commands that no test runs, and why."""


def claimed() -> Iterator[str]:
    """Yield the commands of all marks."""
    for file in TESTS.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.runs":
                yield from (ast.literal_eval(argument) for argument in node.args)


def test_every_command_is_run_by_a_test() -> None:
    """A new command needs a test that runs it, and a mark on that test; a mark with another name is a mistake."""
    run = set(claimed())
    assert len(every_command()) > 90
    assert sorted(every_command() - run - set(NEVER)) == []
    assert sorted(run - every_command()) == []
    assert not run & set(NEVER)
