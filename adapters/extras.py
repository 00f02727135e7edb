"""Optional dependencies, installed by `pip install 'vedette[EXTRA]'`."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from vedette.errors import UnavailableError


def require_extra(extra: str, purpose: str, *packages: str) -> None:
    """Check that packages of an extra are installed, without importing them: for the first line of a command.

    Args:
        extra: Name of the extra in pyproject.toml.
        purpose: The feature that needs it, as the subject of a sentence.
        packages: Top-level import names.

    Raises:
        UnavailableError: A package is missing; the message names it, the extra and the command that installs it.
    """
    if missing := [package for package in packages if not _installed(package)]:
        raise _missing(extra, purpose, ", ".join(missing))


@contextmanager
def needs_extra(extra: str, purpose: str) -> Iterator[None]:
    """Import packages of an extra within the block.

    Args:
        extra: Name of the extra in pyproject.toml.
        purpose: The feature that needs it, as the subject of a sentence.

    Raises:
        UnavailableError: A package is missing; the message names it, the extra and the command that installs it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise _missing(extra, purpose, error.name or str(error)) from error


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ValueError:  # the module is marked as not importable in sys.modules
        return False


def _missing(extra: str, purpose: str, packages: str) -> UnavailableError:
    return UnavailableError(
        f"{purpose} needs the extra '{extra}', and {packages} is not installed",
        remedy=f"pip install 'vedette[{extra}]'",
    )
