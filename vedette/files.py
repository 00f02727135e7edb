"""Files that are whole or not there."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vedette.errors import InputError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Where to write a file, which then takes its place, in a folder that is made; nothing is left of a failure.

    Raises:
        InputError: The file cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            if part.exists():
                part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error}", remedy="name another file with --output") from error
