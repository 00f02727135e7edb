"""Atomic file writes: after a crash a file is the old one or the new one, and a reported write is on disk."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vedette.errors import InputError


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield the path to write to, and put that file in the place of `path` at the end; its folder is created.

    A failure leaves nothing behind. If nothing was written, `path` is unchanged. Only one process at a time may write a
    path.

    Raises:
        OSError: The file cannot be written.
    """
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield part
        if part.exists():
            _sync(part, os.O_RDWR)
            part.replace(path)
            sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace the content of a file; its folder is created.

    Raises:
        OSError: The file cannot be written.
    """
    with atomic_file(path) as part:
        part.write_bytes(content)


@contextmanager
def output_file(path: Path, what: str) -> Iterator[Path]:
    """Write a file that the user requested atomically, as `atomic_file` does.

    Args:
        path: The file.
        what: Name of the content in the error, such as "the report".

    Raises:
        InputError: The file cannot be written.
    """
    try:
        with atomic_file(path) as part:
            yield part
    except OSError as error:
        raise InputError(
            f"{what} cannot be written to {path}: {error.strerror or error}",
            remedy="check permissions and free space, or name another file",
        ) from error


def sync_folder(folder: Path) -> None:
    """Make created, renamed and removed entries of a folder durable.

    Raises:
        OSError: The folder cannot be synchronised.
    """
    _sync(folder, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
