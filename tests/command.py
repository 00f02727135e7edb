"""Runs the `vedette` command inside the process of the tests, which has imported everything already."""

import io
import os
import sys
from collections.abc import Mapping
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from cli.main import main


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


def vedette(
    *arguments: str, cwd: Path | None = None, environment: Mapping[str, str] | None = None, given: str = ""
) -> Done:
    """Run a command to its end, as a shell does.

    Args:
        arguments: The words after `vedette`.
        cwd: Folder in which it runs; None: the current one.
        environment: Variables in addition to those of this process.
        given: Standard input.
    """
    output, errors = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    code: str | int | None = 0
    with (
        patch.object(sys, "argv", ["vedette", *arguments]),
        patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(given.encode()), encoding="utf-8")),
        patch.dict(os.environ, environment or {}),
        chdir(cwd or Path.cwd()),
        redirect_stdout(output),
        redirect_stderr(errors),
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code
    return Done(code if isinstance(code, int) else 0 if code is None else 1, _text(output), _text(errors))


def _text(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()
