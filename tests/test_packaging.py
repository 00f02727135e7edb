"""What a wheel must contain."""

import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOOL = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
PACKAGES = [name.removesuffix("*") for name in TOOL["setuptools"]["packages"]["find"]["include"]]


def files_of(package: str) -> list[Path]:
    """Return the files of a package that git knows."""
    listed = subprocess.run(["git", "ls-files", package], cwd=ROOT, capture_output=True, text=True, check=True)
    return [Path(line) for line in listed.stdout.splitlines()]


def test_every_room_is_packaged() -> None:
    """A top-level folder with an `__init__.py` is in the wheel, type-checked and under the import contracts."""
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert set(PACKAGES) == rooms
    assert set(TOOL["mypy"]["packages"]) == rooms
    assert set(TOOL["importlinter"]["root_packages"]) == rooms


def test_every_file_of_a_package_is_packaged() -> None:
    """Templates, scripts, queries and tables that code reads from its own package are in the wheel."""
    patterns = TOOL["setuptools"]["package-data"]["*"]
    left_out = [
        str(file)
        for package in PACKAGES
        for file in files_of(package)
        if file.suffix != ".py" and not any(fnmatch(file.name, pattern) for pattern in patterns)
    ]
    assert not left_out


def test_the_image_is_built_from_every_room() -> None:
    """`.dockerignore` lets every package into the image."""
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {f"!{package}" for package in PACKAGES} <= set(allowed)
