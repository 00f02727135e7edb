import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cli.main import app
from vedette.errors import InputError


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """A table of 6,000 payments with separable frauds, and a protocol for it."""
    folder = tmp_path_factory.mktemp("tune")
    rng = np.random.default_rng(3)
    rows = 6_000
    v1, v2 = rng.normal(size=(2, rows))
    fraud = (v1 > 1.5) & (rng.random(rows) < 0.5)
    columns = {"Time": np.arange(rows, dtype=float), "V1": v1, "V2": v2, "Amount": rng.gamma(2, 40, rows).round(2)}
    pq.write_table(pa.table({**columns, "Class": fraud.astype(np.int8)}), folder / "cards.parquet")
    (folder / "cards.toml").write_text(
        """
        kind = "table"
        columns = { time = "Time", amount = "Amount", label = "Class" }
        [[entries]]
        model = "logistic_regression"
        [[entries]]
        model = "lightgbm"
        """,
        encoding="utf-8",
    )
    files = ("--protocol", str(folder / "cards.toml"), "--train", str(folder / "cards.parquet"))
    return (*files, "--threads", "1", "--json")


def tune(*arguments: str) -> dict[str, Any]:
    """Run the command to its end and return its last line."""
    result = CliRunner().invoke(app, ("tune", *arguments), catch_exceptions=False)
    assert result.exit_code == 0
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_a_search_goes_on_where_it_stopped_and_gives_up_what_is_poor(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    """The same command again runs no trial; with more trials only the new ones run, and some end early."""
    search = ("logistic_regression", *arguments, "--cache", str(tmp_path), "--trials")
    first, again, more = tune(*search, "2"), tune(*search, "2"), tune(*search, "30")
    assert first == again
    assert (first["trials"], more["trials"]) == (2, 30)
    assert more["pruned"] > 0
    assert more["average_precision"] >= first["average_precision"]


def test_what_was_found_can_be_trained_with(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """The parameters have the form of an entry: a protocol with them gives a comparison."""
    found = tune("lightgbm", *arguments, "--cache", str(tmp_path), "--trials", "1")["parameters"]
    own = tmp_path / "own.toml"
    settings = ", ".join(f"{name} = {json.dumps(value)}" for name, value in found.items())
    own.write_text(
        'kind = "table"\ncolumns = { time = "Time", amount = "Amount", label = "Class" }\n'
        f'[[entries]]\nmodel = "lightgbm"\nparameters = {{ {settings} }}\n'
    )
    rest = ("--cache", str(tmp_path), "--report", str(tmp_path / "report.html"))
    result = CliRunner().invoke(app, ("compare", "--protocol", str(own), *arguments[2:], *rest), catch_exceptions=False)
    assert json.loads(result.stdout.splitlines()[-1])["rows"][0]["parameters"] == found


def test_a_time_budget_ends_a_search_before_its_trials(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """A hundredth of a minute is not enough for ten thousand settings, and the best so far is reported."""
    found = tune("logistic_regression", *arguments, "--cache", str(tmp_path), "--trials", "9999", "--minutes", "0.01")
    assert 0 < found["trials"] < 9_999
    assert found["average_precision"] > 0.3


@pytest.mark.runs("tune")
def test_a_grid_tries_every_combination(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """Two by two are four, and a single tree is not the best."""
    grid = ("--grid", "n_estimators=1,30", "--grid", "min_child_samples=20,50")
    found = tune("lightgbm", *arguments, "--cache", str(tmp_path), *grid)
    assert found["trials"] == 4
    assert found["parameters"]["n_estimators"] == 30


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (("--grid", "C"), "'C' has no value"),
        (("--grid", "C=big"), "'C=big'"),
        (("--steps", "4000"), "take fewer"),
    ],
)
def test_a_wrong_call_is_said_in_a_sentence(arguments: tuple[str, ...], wrong: tuple[str, ...], message: str) -> None:
    """Every mistake is an InputError."""
    with pytest.raises(InputError, match=message):
        tune("logistic_regression", *arguments, *wrong)
