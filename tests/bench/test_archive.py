"""The figures of the archive, measured on a small history."""

from pathlib import Path

import pytest

from bench.archive import measure
from bench.measurement import Setup
from tests.conftest import missing
from vedette.errors import UnavailableError


@pytest.mark.servers
@pytest.mark.slow
def test_every_figure_of_the_archive_is_measured(tmp_path: Path) -> None:
    """Decisions come from a broker, payments are written, compacted and queried, and every figure is measured."""
    written: list[int] = []
    setup = Setup(tmp_path, "embedded", "embedded")
    try:
        figures = measure(setup, payments=8_000, decisions=2_000, days=2, show=written.append)
    except UnavailableError as error:
        missing(error)
    assert written[-1] == figures.rows == 8_000
    assert all(value > 0 for value in figures.values().values())
    assert figures.bytes_per_payment < 1_000
