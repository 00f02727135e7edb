"""The benchmark of the gateway, small."""

from pathlib import Path

import pytest

from bench.gateway import measure
from bench.measurement import Setup


@pytest.mark.slow
@pytest.mark.servers
def test_every_payment_is_accounted_for(tmp_path: Path) -> None:
    """Each request is answered, and each payment that was answered has one decision."""
    figures = measure(Setup(tmp_path, "embedded", "embedded"), rate=40, seconds=2, partitions=2)
    assert figures.sent == 80
    assert (figures.errors, figures.lost, figures.doubled) == (0, 0, 0)
    assert figures.p50_ms <= figures.p99_ms <= figures.p999_ms
    assert figures.worker_p99_ms >= 0
