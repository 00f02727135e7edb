import os
from pathlib import Path

import pytest

from adapters.files import atomic_file, output_file, write_atomically
from vedette.errors import InputError


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    """The old content stays until the new one is complete, and a failure leaves nothing behind."""
    path = tmp_path / "new" / "folder" / "file"
    write_atomically(path, b"old")

    def fail() -> None:
        with atomic_file(path) as part:
            part.write_bytes(b"half")
            assert path.read_bytes() == b"old"
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == b"old"
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_file_and_folder_are_on_disk_before_and_after_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The content is synchronised before the file takes its place, and the folder after it."""
    synced: list[tuple[str, bool]] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append((str(Path(f"/proc/self/fd/{descriptor}").readlink()), (tmp_path / "file").exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    write_atomically(tmp_path / "file", b"x")
    assert synced == [(str(tmp_path / "file.part"), False), (str(tmp_path), True)]


def test_nothing_written_changes_nothing(tmp_path: Path) -> None:
    """A block that writes nothing leaves the old file as it is."""
    write_atomically(tmp_path / "file", b"old")
    with atomic_file(tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_bytes() == b"old"


def test_an_error_names_what_was_to_be_written_and_where(tmp_path: Path) -> None:
    """The message has the thing, the path and the reason; no option of a command is guessed."""
    (tmp_path / "file").write_text("")

    def write() -> None:
        with output_file(tmp_path / "file" / "report", "the report") as part:
            part.write_bytes(b"x")

    with pytest.raises(InputError, match=r"the report cannot be written to .*file/report: "):
        write()
