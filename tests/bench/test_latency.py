"""Latency of the floor and of Vedette, side by side."""

from pathlib import Path

import pytest

from bench.latency import measure
from bench.measurement import Setup
from tests.conftest import missing
from vedette.errors import UnavailableError


@pytest.mark.servers
def test_each_contender_is_measured_at_each_rate(tmp_path: Path) -> None:
    """Floor and worker decide on the same load in turn, on separate topics; medians have a row for each."""
    try:
        result = measure(
            Setup(tmp_path, "embedded", "embedded"), rates=(20,), seconds=1, turns=1, partitions=2,
            contenders=("floor", "vedette"), broker_warm_s=0, warm_s=0,
        )  # fmt: skip
    except UnavailableError as error:
        missing(error)
    order = [(rate, contender) for rate in (20,) for contender in ("floor", "vedette")]
    assert [(row.rate, row.contender) for row in result.medians] == order
    assert len(result.turns) == len(order)
    for row in result.turns:
        assert row.decisions > 0
        assert 0 < row.p50_ms <= row.p95_ms <= row.p99_ms <= row.p999_ms
        assert (row.owners_behind_p99_ms is not None) == (row.contender == "vedette")
        assert row.cpu.keys() == {"broker", "contender", "redis", "load"}
    assert len(result.lines()) == 1 + len(order)
