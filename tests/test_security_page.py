"""docs/security.md and SECURITY.md name tests that there are."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/security.md").read_text(encoding="utf-8")
MODEL = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
REFERENCE = re.compile(r"`((?:[\w/]+\.py)|…)(?:::(\w+))?`")


def references() -> list[tuple[str, str]]:
    """Every reference of the tables, as file and test: `…` is the file before, an empty test means all of a file."""
    found, folder, file = [], "challenges", ""
    for line in PAGE.splitlines():
        if line.startswith("## "):
            folder = "console" if line == "## The console" else "challenges"
        if not line.startswith("|"):
            continue
        for name, test in REFERENCE.findall(line.rpartition(" | ")[2]):
            if name != "…":
                file = name if (ROOT / "tests" / name).exists() else f"{folder}/{name}"
            found.append((file, test))
    return found


def names_in(file: str) -> set[str]:
    """The tests of a file."""
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


@pytest.mark.parametrize(("file", "test"), references())
def test_every_test_on_the_page_exists(file: str, test: str) -> None:
    """In the file that is named, under the name that is given."""
    assert (ROOT / "tests" / file).is_file(), file
    assert not test or test in names_in(file), f"{file}::{test}"


def test_every_attack_has_a_control_and_a_test() -> None:
    """Each line of the tables has three cells, the last of which names a test."""
    lines = [line for line in PAGE.splitlines() if line.startswith("|") and not re.match(r"\| (attack|---) ", line)]
    assert len(lines) > 60
    for line in lines:
        attack, control, test = (cell.strip() for cell in re.split(r"(?<!\\) \| ", line.strip("| ")))
        assert attack, line
        assert control, line
        assert REFERENCE.search(test), line


@pytest.mark.parametrize(("file", "test"), REFERENCE.findall(MODEL))
def test_every_control_of_the_threat_model_has_its_test(file: str, test: str) -> None:
    """In the file that is named, under the name that is given."""
    assert (ROOT / "tests" / file).is_file(), file
    assert not test or test in names_in(file), f"{file}::{test}"


def test_the_threat_model_is_complete() -> None:
    """Each row names component, threat by its kind, control and test; all six kinds of STRIDE are there."""
    rows = [line for line in MODEL.splitlines() if line.startswith("|")][2:]
    kinds = {row.split("|")[2].strip().partition(":")[0] for row in rows}
    assert kinds == {"spoofing", "tampering", "repudiation", "disclosure", "denial", "elevation"}
    assert all(REFERENCE.search(row.split("|")[4]) for row in rows)
