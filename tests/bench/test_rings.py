"""The ranking of accounts in rings of transfers."""

import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from bench.rings import START, by_degree, by_vedette, read_transfers
from cli.main import app
from vedette.clock import DAY

ACCOUNTS, DAYS, RINGS, MEMBERS = 400, 40, 12, 6


def write(folder: Path, kind: str, seed: int) -> None:
    """Write transfers between random accounts, and rings in which all members pay one on a day."""
    rng = np.random.default_rng(seed)
    source, target = rng.integers(0, ACCOUNTS, (2, 3_000))
    rows = [*zip(source.tolist(), target.tolist(), rng.integers(1, DAYS + 1, 3_000).tolist(), strict=True)]
    members = rng.permutation(ACCOUNTS)[: RINGS * MEMBERS].reshape(RINGS, MEMBERS)
    for ring in members.tolist():
        days = rng.permutation(DAYS)[:4] + 1
        rows += [(one, ring[0], int(day)) for one in ring[1:] for day in days]
    rng.shuffle(rows)
    columns = np.array(rows).T
    table = {"sourceNodeId": columns[0], "targetNodeId": columns[1], "value": np.full(len(rows), 12.34)}
    pq.write_table(pa.table(table | {"time": columns[2].astype(np.int16)}), folder / f"{kind}_transactions.parquet")
    fraud = np.isin(np.arange(ACCOUNTS), members).astype(np.int8)
    accounts = pa.table({"nodeid": np.arange(ACCOUNTS), "isFraud": fraud})
    pq.write_table(accounts, folder / f"{kind}_accounts.parquet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two kinds of rings."""
    found = tmp_path_factory.mktemp("rings")
    write(found, "one", 1)
    write(found, "two", 2)
    return found


def test_transfers_are_read_in_order_of_time_as_whole_cents(folder: Path) -> None:
    """A day's transfers are spread over it, and a value is minor units."""
    transfers = read_transfers(folder, "one")
    assert set(transfers.minor.tolist()) == {1_234}
    assert (np.diff(transfers.time) > 0).all()
    assert transfers.time[0] == START
    assert transfers.days == DAYS
    assert len(transfers.between(0, 10).time) + len(transfers.between(10, DAYS).time) == len(transfers.time)
    assert transfers.ring.sum() == RINGS * MEMBERS


@pytest.mark.slow
def test_what_describes_an_account(folder: Path) -> None:
    """Degrees count transfers and counterparties; Vedette's features are there for whoever sent or received."""
    transfers = read_transfers(folder, "one")
    degrees = by_degree(transfers)
    assert degrees[:, 0].sum() == degrees[:, 1].sum() == len(transfers.time)
    assert (degrees[:, 2] <= degrees[:, 0]).all()
    found = by_vedette(transfers)
    assert found.shape[0] == ACCOUNTS
    assert not np.isnan(found).all(axis=1).any()
    assert transfers.time.max() < START + DAYS * DAY


@pytest.mark.runs("bench rings")
def test_rings_are_found(folder: Path) -> None:
    """Vedette's features rank the members of rings far above chance, by time and from the other kind."""
    found = CliRunner().invoke(app, ["bench", "rings", str(folder), "--json"])
    assert found.exit_code == 0, found.output
    result = json.loads(found.output.splitlines()[-1])
    assert set(result["by_test"]) == {"one by time", "two by time", "one from two", "two from one"}
    for figures in result["by_test"].values():
        assert figures["vedette"] > 3 * RINGS * MEMBERS / ACCOUNTS
        assert all(value is None or not math.isnan(value) for value in figures.values())
    assert result["in_rings"] == {"one": 0.18, "two": 0.18}


def test_a_folder_without_the_files_is_an_error(tmp_path: Path) -> None:
    """The message names the folder and what is missing."""
    found = CliRunner().invoke(app, ["bench", "rings", str(tmp_path)])
    assert found.exit_code != 0
    assert "not two or more" in str(found.exception or found.output)
