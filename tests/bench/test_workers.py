"""Two workers on one load."""

from pathlib import Path

import pytest

from bench.measurement import Setup
from bench.workers import measure


@pytest.mark.kafka
def test_two_workers_lose_and_double_nothing(tmp_path: Path) -> None:
    """Every transaction gets exactly one decision, and each worker decides on a fair share of them."""
    result = measure(Setup(tmp_path, "apache", "system"), transactions=10_000, accounts=2_000)
    assert (result.lost, result.doubled) == (0, 0)
    assert 0.1 < result.second_share < 0.9
