from pathlib import Path

from scripts.rooms import LONGEST, measure


def test_rooms_are_measured_with_their_imports_in_both_directions(tmp_path: Path) -> None:
    """Every kind of import statement counts, including those in functions; a room's imports of itself do not."""
    for name in ("lower", "upper"):
        (tmp_path / name).mkdir()
    (tmp_path / "lower" / "a.py").write_text("import os\nfrom lower import b\n")
    (tmp_path / "upper" / "c.py").write_text("import lower.a\n\ndef f():\n    from lower.a import x\n")
    rooms, too_long = measure(tmp_path, ["lower", "upper"])
    assert not too_long
    assert (rooms["lower"].lines, rooms["lower"].files, dict(rooms["lower"].imports)) == (2, 1, {})
    assert dict(rooms["upper"].imports) == {"lower": 2}
    assert dict(rooms["lower"].imported_by) == {"upper": 2}


def test_a_file_that_is_too_long_is_named(tmp_path: Path) -> None:
    """A file of the limit is accepted, and one line more is not."""
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "fits.py").write_text("\n" * LONGEST)
    (tmp_path / "room" / "long.py").write_text("\n" * (LONGEST + 1))
    rooms, too_long = measure(tmp_path, ["room"])
    assert too_long == {"room/long.py": LONGEST + 1}
    assert rooms["room"].long == 2
