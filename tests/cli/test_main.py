import json
import subprocess
import sys
from pathlib import Path

from tests.command import vedette


def test_an_error_is_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    """Bad input gives one clear sentence on standard error, nothing on standard output, no traceback, and code 2."""
    command = [sys.executable, "-P", "-m", "cli", "schema", "nonsense"]  # as a user runs it
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert "nonsense" in done.stderr
    assert "transaction" in done.stderr


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    """With --debug the same error comes with its traceback."""
    command = [sys.executable, "-P", "-m", "cli", "--debug", "schema", "nonsense"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert "Traceback" in done.stderr


def test_a_broken_settings_file_is_named(tmp_path: Path) -> None:
    """Settings are read from ./vedette.toml, and a mistake there is named whatever the command."""
    (tmp_path / "vedette.toml").write_text("[redis]\nulr = 'x'\n", encoding="utf-8")
    done = vedette("settings", cwd=tmp_path)
    assert done.returncode == 2
    assert "ulr" in done.stderr


def test_schemas_are_written_as_files(tmp_path: Path) -> None:
    """`vedette schema --output` writes one valid JSON file per event."""
    done = vedette("schema", "--output", "schemas", cwd=tmp_path)
    assert done.returncode == 0
    files = sorted((tmp_path / "schemas").glob("*.schema.json"))
    assert [file.name.split(".")[0] for file in files] == [
        "alert",
        "callcheck",
        "challenge",
        "closedincident",
        "decision",
        "label",
        "transaction",
    ]
    assert all(json.loads(file.read_text(encoding="utf-8"))["properties"] for file in files)


def test_a_worker_without_a_model_says_so(tmp_path: Path) -> None:
    """A worker whose model folder is missing ends with one sentence that names it and the remedy."""
    (tmp_path / "vedette.toml").write_text('[decisions]\nmodel = "models/fraud"\n', encoding="utf-8")
    done = vedette("worker", cwd=tmp_path)
    assert done.returncode == 2
    assert "models/fraud" in done.stderr
    assert "Traceback" not in done.stderr
