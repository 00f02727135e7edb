"""`vedette backfill` as a whole."""

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features import Backfill, RedisStore, backfill, catalogue_hash
from features.load import partition_of
from producers.simulation import Simulation
from producers.simulator import simulate
from stack.local import LocalStack
from stack.topics import apply
from streams.policy import load_policy
from vedette import Settings, keys
from vedette.settings import describe

VEDETTE = [sys.executable, "-c", "from cli.main import main; main()"]
SettingsFor = Callable[[LocalStack, str], Settings]

POLICY = Path(__file__).parents[2] / "streams/policy.yaml"


@pytest.fixture(scope="module")
def payments() -> pa.Table:
    """Simulated payments in order of event time."""
    return pa.Table.from_batches(simulate(Simulation(customers=80, terminals=40, days=12, seed=4))).combine_chunks()


@pytest.fixture
def file(payments: pa.Table, tmp_path: Path) -> Path:
    """The same in no order, in a file."""
    path = tmp_path / "payments.parquet"
    pq.write_table(payments.take(np.random.default_rng(2).permutation(len(payments))), path)
    return path


def vedette(settings: Settings, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    (directory / "vedette.toml").write_text(describe(settings), encoding="utf-8")
    return subprocess.run(
        [*VEDETTE, "backfill", *arguments], capture_output=True, text=True, timeout=200, check=False, cwd=directory
    )


def test_frame_and_warm_start(
    embedded_stack: LocalStack,
    settings_for: SettingsFor,
    topic_prefix: str,
    payments: pa.Table,
    file: Path,
    tmp_path: Path,
) -> None:
    """One run over a shuffled file gives frame and state of an ordered backfill; a second must say overwrite."""
    settings = settings_for(embedded_stack, topic_prefix)
    apply(settings)
    arguments = (str(file), "--output", "frame.parquet", "--policy", str(POLICY), "--load", "--json")
    done = vedette(settings, tmp_path, *arguments)
    state = Backfill(load_policy(POLICY).limits)
    expected = pa.Table.from_batches(backfill(payments.to_batches(), state))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "rows": len(payments),
        "accounts": len(state.accounts),
        "entities": len(state.entities),
        "rejected": 0,
        "features_hash": catalogue_hash(),
        "output": "frame.parquet",
        "loaded": True,
    }
    frame = pq.read_table(tmp_path / "frame.parquet").sort_by("transaction_id").to_pandas()
    assert frame.equals(expected.sort_by("transaction_id").to_pandas())
    with closing(RedisStore(settings.redis)) as store:
        partitions = settings.topics.partitions
        names = [
            f"{keys.account(store.prefix, partition_of(account, partitions))}{account}" for account in state.accounts
        ]
        assert store.load(names) == list(state.accounts.values())
    again = vedette(settings, tmp_path, *arguments)
    assert again.returncode == 2
    assert "replace the state with --overwrite" in again.stderr
    assert vedette(settings, tmp_path, *arguments, "--overwrite", "--stream-from", "end").returncode == 0


def test_something_must_be_wanted(file: Path, tmp_path: Path) -> None:
    """Without a frame to write or a state to load there is nothing to do, which is said before anything is read."""
    done = vedette(Settings(), tmp_path, str(file))
    assert done.returncode == 2
    assert done.stderr.startswith("vedette: backfill has nothing to do")


def test_a_scheduler_needs_dask(file: Path, tmp_path: Path) -> None:
    """A cluster that is named is not silently left out: without the engine that uses it the command is refused."""
    done = vedette(Settings(), tmp_path, str(file), "--output", "frame.parquet", "--scheduler", "tcp://127.0.0.1:9")
    assert done.returncode == 2
    assert done.stderr.startswith("vedette: --scheduler goes with --engine dask")
    assert not (tmp_path / "frame.parquet").exists()
