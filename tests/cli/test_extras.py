import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from vedette.errors import UnavailableError

PROTOCOL = """
kind = "table"
columns = { time = "Time", amount = "Amount", label = "Class" }

[[entries]]
model = "xgboost"

[[entries]]
model = "feed_forward"
"""


def block(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """Make packages look as if they were not installed."""
    for package in packages:
        for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, package, None)


@pytest.mark.parametrize(
    ("arguments", "package", "extra"),
    [
        (("tune", "xgboost"), "optuna", "models"),
        (("tune", "xgboost", "--grid", "max_depth=3"), "xgboost", "models"),
        (("tune", "xgboost", "--automl"), "tpot", "automl"),
        (("compare", "--report", "r.html"), "plotly", "models"),
        (("describe", "p.csv", "--html", "d.html"), "plotly", "models"),
        (("describe", "--archive"), "deltalake", "archive"),
        (("prove", "t1"), "deltalake", "archive"),
        (("whatif", "--archive"), "deltalake", "archive"),
        (("drift", "--html", "d.html"), "evidently", "models"),
        (("train", "--simulate", "--engine", "dask"), "distributed", "dask"),
        (("compare", "--engine", "dask"), "distributed", "dask"),
        (("models", "list"), "mlflow", "models"),
        (("models", "promote", "1", "--reason", "r", "--approver", "a"), "mlflow", "models"),
        (("retrain",), "mlflow", "models"),
        (("score", "-", "--model", "champion"), "mlflow", "models"),
        (("archive", "run"), "deltalake", "archive"),
        (("archive", "compact"), "deltalake", "archive"),
        (("find",), "deltalake", "archive"),
        (("show", "t1"), "deltalake", "archive"),
        (("bench", "throughput"), "psutil", "bench"),
        (("bench", "idle"), "psutil", "bench"),
        (("bench", "profile"), "psutil", "bench"),
        (("bench", "faults"), "psutil", "bench"),
    ],
)
def test_a_missing_extra_is_named_before_any_work(
    arguments: tuple[str, ...], package: str, extra: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A command without its extra says which package is missing, which extra contains it, and how to install it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VEDETTE_REGISTRY__URL", f"sqlite:///{tmp_path}/registry.sqlite")
    block(monkeypatch, package)
    with pytest.raises(UnavailableError, match=rf"{package}.* is not installed.*pip install 'vedette\[{extra}\]'"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_training_needs_no_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`vedette train` checks a file and trains on it with the core's packages alone."""
    block(monkeypatch, "mlflow", "optuna", "plotly", "evidently", "imblearn", "xgboost", "pandera", "dask", "keras")
    file = tmp_path / "payments.parquet"
    frauds = ("--scenario", "large_amount", "--scenario", "account_takeover", "--scenario", "compromised_card")
    simulate = ("simulate", "--customers", "150", "--days", "24", "--seed", "5", *frauds, "--output", str(file))
    assert CliRunner().invoke(app, simulate, catch_exceptions=False).exit_code == 0
    train = ("train", str(file), "--mapping", "vedette", "--set", "trees=5", "--output", str(tmp_path / "model"))
    assert CliRunner().invoke(app, train, catch_exceptions=False).exit_code == 0
    assert (tmp_path / "model/contract.json").exists()


def test_a_comparison_of_rows_that_cannot_run_says_so_before_the_data_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Every row whose packages are missing is named with the reason, and if no row is left nothing is started."""
    block(monkeypatch, "xgboost", "keras")
    protocol = tmp_path / "own.toml"
    protocol.write_text(PROTOCOL, encoding="utf-8")
    runner = CliRunner()
    result = runner.invoke(app, ("compare", "--protocol", str(protocol), "--deep", "--train", str(tmp_path / "none")))
    assert isinstance(result.exception, UnavailableError)
    assert "no row of the comparison can run here" in str(result.exception)
    assert "left out: xgboost: xgboost is not installed: pip install 'vedette[models]'" in result.stderr
    assert "left out: feed_forward: keras" in result.stderr
