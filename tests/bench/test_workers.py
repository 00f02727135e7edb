"""Two workers on one load."""

from pathlib import Path

import pytest

from bench.workers import measure


@pytest.mark.kafka
def test_two_workers_lose_and_double_nothing(tmp_path: Path) -> None:
    """Every transaction gets exactly one decision, whichever of the two has its partition."""
    result = measure(
        tmp_path, transactions=10_000, accounts=2_000, broker="apache", redis="system", say=lambda _: None
    )  # fmt: skip
    assert (result.lost, result.doubled) == (0, 0)
    assert result.two_cpu_us > 0
