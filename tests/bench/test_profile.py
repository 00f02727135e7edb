"""The profile of a batch, without servers."""

import pytest

from bench.profile import measure


@pytest.mark.slow
def test_every_stage_of_the_worker_is_in_the_profile() -> None:
    """Each size has a row with every stage of compute, publish and commit, and processor time per payment."""
    profile = measure(seconds=0.01, sizes=(1, 30))
    assert [row.size for row in profile.sizes] == [1, 30]
    for row in profile.sizes:
        assert row.stages_us.keys() == {
            "decode", "columns", "load", "features", "score", "send", "encode", "publish", "commit"
        }  # fmt: skip
        assert row.batches >= 10
        assert row.cpu_us_per_payment * row.size > 0
        assert row.compute_us >= max(row.stages_us[stage] for stage in ("decode", "score"))
    assert len(profile.lines()) == 1 + 4 + 9 + 1 + 1
    assert 0 < profile.hashing_ns_per_payment < 100_000
