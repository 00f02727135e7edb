"""A class name means one thing in the project, and words that only this project understood do not return."""

import ast
import re
import subprocess
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
RETIRED = {
    "about", "camera", "choose", "clerk", "courier", "dear", "dearest", "intake", "judge", "judges", "messenger",
    "mine", "opinion", "opinions", "ours", "panel", "papers", "takenin", "theirs", "told", "untold",
    "verdict", "verdicts",
}  # fmt: skip
"""Parts of identifiers that meant several things, or not what they mean to everybody else in this field."""
RETIRED_IN_TEXT = r"\b(anew|for ever|dearest|clerk|courier|messenger|TAKEN_IN)\b"
"""What neither comments nor messages nor pages say."""
HISTORY = "adapters/database/migrations/versions/"
"""Migrations name the columns of their time."""


def product() -> list[Path]:
    """The Python files of all rooms and scripts."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    rooms = (*contracts["root_packages"], "scripts")
    return [file for room in rooms for file in sorted((ROOT / room).rglob("*.py"))]


def test_a_class_name_means_one_thing() -> None:
    """No two modules define a public class of the same name."""
    found: dict[str, list[str]] = defaultdict(list)
    for file in product():
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert len(found) > 300
    assert not {name: places for name, places in found.items() if len(places) > 1}


def identifiers(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Return every name that is defined or used, with its line."""
    for node in ast.walk(tree):
        for field in ("id", "attr", "name", "arg", "asname"):
            name = getattr(node, field, None)
            if isinstance(name, str):
                yield name, getattr(node, "lineno", 0)


def parts(identifier: str) -> set[str]:
    """Return the words of an identifier in lower case; those of a snake or camel case apart."""
    words = {word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", identifier)}
    return words | {identifier.strip("_").replace("_", "").lower()}


def test_a_retired_word_is_found() -> None:
    """It is found in every spelling, and in an f-string."""
    found = {
        name for name, _ in identifiers(ast.parse("TAKEN_IN = f'{about_it}'\nclass CallClerk: ...\nroundabout = 1"))
    }
    assert {name for name in found if parts(name) & RETIRED} == {"TAKEN_IN", "about_it", "CallClerk"}


def test_names_are_terms_of_the_field() -> None:
    """No identifier and no file of the product has a retired word in its name."""
    found = [
        f"{file.relative_to(ROOT)}:{line} {name}"
        for file in product()
        if not str(file.relative_to(ROOT)).startswith(HISTORY)
        for name, line in [(file.stem, 0), *identifiers(ast.parse(file.read_bytes()))]
        if parts(name) & RETIRED
    ]
    assert not found


def test_texts_are_in_plain_words() -> None:
    """Comments, messages, templates and pages do without the retired words."""
    command = ["git", "grep", "-nIwiP", RETIRED_IN_TEXT, "--", ":!tests", f":!{HISTORY}", ":!CHANGELOG.md"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode in {0, 1}, found.stderr
    assert not found.stdout
