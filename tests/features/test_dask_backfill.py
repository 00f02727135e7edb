"""A backfill on a cluster has the bits of a local one."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from distributed import Client

from decisions.policy_file import load_policy
from features.backfill import Backfill, backfill
from features.dask_backfill import spread
from features.dask_cluster import connected, scheduler_at
from features.history import opened
from producers.simulation import Simulation
from producers.simulator import simulate
from vedette.errors import UnavailableError

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Client]:
    """Two workers, each in a separate process."""
    with scheduler_at("", workers=2) as address, connected(address) as client:
        yield client


@pytest.mark.slow
def test_two_workers_give_the_same_bits(cluster: Client, tmp_path: Path) -> None:
    """Frame and state of payments spread over two workers, some with late labels, are those of a local backfill."""
    config = Simulation(customers=100, terminals=50, days=25, seed=6, late_labels=0.3)
    payments = pa.Table.from_batches(simulate(config)).combine_chunks()
    nowhere = pa.array([None if row % 7 == 0 else name for row, name in enumerate(payments["merchant_id"].to_pylist())])
    payments = payments.set_column(payments.schema.names.index("merchant_id"), "merchant_id", nowhere)
    limits = load_policy(ROOT / "decisions/policy.yaml").limits
    expected = Backfill(limits)
    with opened(payments.to_batches(max_chunksize=1000), tmp_path) as history:
        plain = pa.Table.from_batches(backfill(history.in_order(), expected)).to_pandas()
    (tmp_path / "spread").mkdir()
    state = Backfill(limits)
    done: list[int] = []
    with opened(payments.to_batches(max_chunksize=1000), tmp_path) as history:
        found = pa.Table.from_batches(
            spread(history, cluster, tmp_path / "spread", state, on_part=done.append)
        ).to_pandas()
    assert found.equals(plain)
    assert np.isnan(found["merchant_count_1d"]).sum() == sum(name is None for name in nowhere.to_pylist())
    assert found["day_to_limit"].notna().any()
    assert (state.accounts, state.entities) == (expected.accounts, expected.entities)
    assert done == list(range(1, 18))  # two parts a worker of each kind, but one of payees


@pytest.mark.usefixtures("cluster")
def test_a_cluster_that_cannot_work_is_named() -> None:
    """If nothing listens, or a second cluster beside the first has no workers, the error says what to start."""
    with pytest.raises(UnavailableError, match=r"tcp://127\.0\.0\.1:9.*dask scheduler"), connected("tcp://127.0.0.1:9"):
        pass
    with (
        scheduler_at("", workers=0) as address,
        pytest.raises(UnavailableError, match=f"{address} has no workers.*dask worker"),
        connected(address),
    ):
        pass
