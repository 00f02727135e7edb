"""`vedette backfill` as a whole."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from decisions.policy_file import load_policy
from features.backfill import Backfill, backfill
from features.catalogue import catalogue_hash
from features.columns import account_hash
from features.identity import OPEN
from features.store import RedisStore
from producers.simulation import Simulation
from producers.simulator import simulate
from stack.local import LocalStack
from stack.state import StackState
from stack.topics import apply
from tests.command import Done, vedette
from vedette import Settings, keys
from vedette.partitioner import partition_of
from vedette.settings_page import describe

SettingsFor = Callable[[LocalStack, str], Settings]

POLICY = Path(__file__).parents[2] / "decisions/policy.yaml"


@pytest.fixture(scope="module")
def payments() -> pa.Table:
    """Simulated payments in order of event time."""
    return pa.Table.from_batches(
        simulate(Simulation(customers=80, terminals=40, days=12, seed=4, returns=0))
    ).combine_chunks()


@pytest.fixture
def file(payments: pa.Table, tmp_path: Path) -> Path:
    """The same in random order, in a file."""
    path = tmp_path / "payments.parquet"
    pq.write_table(payments.take(np.random.default_rng(2).permutation(len(payments))), path)
    return path


def backfilled(settings: Settings, directory: Path, *arguments: str) -> Done:
    """Run `vedette backfill` to its end."""
    (directory / "vedette.toml").write_text(describe(settings), encoding="utf-8")
    return vedette("backfill", *arguments, cwd=directory)


def test_frame_and_warm_start(
    embedded_stack: StackState,
    settings_for: SettingsFor,
    topic_prefix: str,
    payments: pa.Table,
    file: Path,
    tmp_path: Path,
) -> None:
    """One run over a shuffled file gives frame and state of an ordered backfill; a second needs --overwrite."""
    settings = settings_for(embedded_stack, topic_prefix)
    apply(settings)
    arguments = (str(file), "--output", "frame.parquet", "--policy", str(POLICY), "--load", "--json")
    done = backfilled(settings, tmp_path, *arguments)
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
            keys.hashed(keys.account(store.prefix, partition_of(account.encode(), partitions)), number)
            for account, number in zip(
                state.accounts, account_hash(pa.array(list(state.accounts)), OPEN).tolist(), strict=True
            )
        ]
        assert store.load(names) == list(state.accounts.values())
    again = backfilled(settings, tmp_path, *arguments)
    assert again.returncode == 2
    assert "replace the state with --overwrite" in again.stderr
    assert backfilled(settings, tmp_path, *arguments, "--overwrite", "--stream-from", "end").returncode == 0


def test_something_must_be_wanted(file: Path, tmp_path: Path) -> None:
    """Without a frame to write or a state to load there is nothing to do, which is reported before reading."""
    done = backfilled(Settings(), tmp_path, str(file))
    assert done.returncode == 2
    assert done.stderr.startswith("vedette: backfill has nothing to do")


def test_a_scheduler_needs_dask(file: Path, tmp_path: Path) -> None:
    """A given cluster is not silently ignored: without the engine that uses it the command is refused."""
    done = backfilled(Settings(), tmp_path, str(file), "--output", "frame.parquet", "--scheduler", "tcp://127.0.0.1:9")
    assert done.returncode == 2
    assert done.stderr.startswith("vedette: --scheduler requires --engine dask")
    assert not (tmp_path / "frame.parquet").exists()
