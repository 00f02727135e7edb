"""Print, for each room, its lines, its files and the imports between rooms; fail if a file is too long.

    python -m scripts.rooms [--json]

A room is a top-level package of `[tool.importlinter]`. "Imports" are the rooms whose modules it imports, "imported by"
those that import its modules, each with the number of import statements.
"""

import argparse
import ast
import json
import sys
import tomllib
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

LONGEST = 400
"""Most lines of a file."""
WHOLE = {"features/kernel_account.py": "a Numba kernel is one function: calls across it would copy state"}
"""Files that may be longer, with the reason."""
LONG = 300
"""Lines of a file above which it is counted as long."""


@dataclass
class Room:
    """One top-level package.

    Attributes:
        lines: Lines of all its Python files.
        files: Number of its Python files.
        long: Number of files above LONG lines.
        imports: Import statements, by the room imported.
        imported_by: Import statements, by the room that imports.
    """

    lines: int = 0
    files: int = 0
    long: int = 0
    imports: Counter[str] = field(default_factory=Counter)
    imported_by: Counter[str] = field(default_factory=Counter)


def measure(root: Path, names: list[str]) -> tuple[dict[str, Room], dict[str, int]]:
    """Return the rooms by name, and the lines of every file that is too long by its path."""
    rooms = {name: Room() for name in names}
    too_long: dict[str, int] = {}
    for name, room in rooms.items():
        for path in sorted((root / name).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            lines = text.count("\n")
            room.lines += lines
            room.files += 1
            room.long += lines > LONG
            relative = str(path.relative_to(root))
            if lines > LONGEST and relative not in WHOLE:
                too_long[relative] = lines
            for other in _imported(text):
                if other in rooms and other != name:
                    room.imports[other] += 1
                    rooms[other].imported_by[name] += 1
    return rooms, too_long


def _imported(text: str) -> list[str]:
    """Return the top-level package of every import statement, those inside functions too."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [alias.name.partition(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append(node.module.partition(".")[0])
    return found


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common()) or "-"


def main() -> int:
    """Print the table; return 1 if a file is too long."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    as_json = parser.parse_args().json
    root = Path(__file__).resolve().parents[1]
    tools = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    rooms, too_long = measure(root, tools["importlinter"]["root_packages"])
    if as_json:
        print(json.dumps({"rooms": {name: asdict(room) for name, room in rooms.items()}, "too_long": too_long}))
    else:
        print(f"| room | lines | files | over {LONG} lines | imports | imported by |")
        print("| --- | ---: | ---: | ---: | --- | --- |")
        for name, room in rooms.items():
            numbers = f"{room.lines} | {room.files} | {room.long}"
            print(f"| {name} | {numbers} | {_listed(room.imports)} | {_listed(room.imported_by)} |")
    for path, lines in too_long.items():
        print(f"{path} has {lines} lines, more than {LONGEST}: split it", file=sys.stderr)
    return 1 if too_long else 0


if __name__ == "__main__":
    sys.exit(main())
