import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cli.main import app
from features.catalogue import NAMES
from models.folder import read_contract
from models.leakage import LeakageError
from models.protocol import PUBLISHED
from models.scorer import load_scorer
from vedette.errors import InputError

SIMULATED = ("train", "--simulate", "--customers", "800", "--days", "24", "--seed", "5", "--name", "small")
HANDBOOK = ("--scenario", "large_amount", "--scenario", "compromised_terminal", "--scenario", "compromised_card")


def run(*arguments: str) -> str:
    """Run the command to its end and return what it printed."""
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


@pytest.mark.slow
def test_the_same_command_writes_the_same_model(tmp_path: Path) -> None:
    """Simulating, computing features and training twice gives the same bytes, and a model that loads."""
    outputs = [run(*SIMULATED, "--set", "trees=30", "--output", str(tmp_path / name), "--json") for name in "ab"]
    assert (tmp_path / "a/model.txt").read_bytes() == (tmp_path / "b/model.txt").read_bytes()
    report = json.loads(outputs[0].splitlines()[-1])
    assert report["model"] == load_scorer(tmp_path / "a").version
    assert len(report["folds"]) == 1
    assert report["mean"]["auc"] == report["folds"][0]["test"]["auc"] > 0.8
    assert read_contract(tmp_path / "a").features == list(NAMES)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of simulated payments."""
    path = tmp_path_factory.mktemp("payments") / "payments.parquet"
    run("simulate", "--customers", "150", "--days", "24", "--seed", "5", *HANDBOOK, "--output", str(path))
    return path


@pytest.mark.runs("train")
def test_a_file_teaches_with_the_published_features_alone(file: Path, tmp_path: Path) -> None:
    """`vedette simulate` writes a file that its mapping reads; the output counts what the label delay leaves out."""
    folder = tmp_path / "model"
    arguments = ("--mapping", "vedette", "--features", "published", "--from", "2018-04-03", "--to", "2018-04-22")
    table = run("train", str(file), *arguments, "--set", "trees=20", "--output", str(folder))
    contract = read_contract(folder)
    assert contract.features == list(PUBLISHED)
    assert contract.folds == []
    assert contract.config.trees == 20
    assert "validation" in table
    rows, labelled = map(_number, re.findall(r"trained on ([\d,]+) payments .*of ([\d,]+) with a label", table)[0])
    assert 0 < rows < labelled
    assert "the labels of the last 7 days would not have arrived yet" in table


def _number(text: str) -> int:
    return int(text.replace(",", ""))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train",), "nothing to train on"),
        (("train", "payments.csv"), "--mapping NAME"),
        (("train", "payments.csv", "--mapping", "no-such"), "there is no mapping 'no-such'"),
        (("train", "--simulate", "--days", "5", "--customers", "20"), "shorter than the label delay"),
        (("train", "--simulate", "--set", "tree=5"), "no parameter 'tree'"),
        (("train", "--simulate", "--set", "trees=0.5"), "Expected `int`"),
        (("train", "--simulate", "--set", "trees"), "'trees' has no value"),
        (("train", "--simulate", "--scheduler", "tcp://127.0.0.1:1"), "--scheduler requires --engine dask"),
    ],
)
def test_what_cannot_be_trained_is_said_in_a_sentence(arguments: tuple[str, ...], message: str) -> None:
    """Every wrong call raises an error that the command line prints with its remedy."""
    with pytest.raises(InputError, match=message):
        run(*arguments)


def changed(file: Path, to: Path, column: str, values: pa.Array | pa.ChunkedArray) -> Path:
    """Return a copy of a file in which a column is replaced or added."""
    table, path = pq.read_table(file), to / "p.parquet"
    at = table.schema.get_field_index(column)
    other = table.append_column(column, values) if at < 0 else table.set_column(at, column, values)
    pq.write_table(other, path)
    return path


def test_data_with_errors_are_refused_before_anything_is_computed(file: Path, tmp_path: Path) -> None:
    """An id that occurs twice stops the training; the report names it, and no folder is written."""
    ids = pq.read_table(file)["transaction_id"].to_pylist()
    doubled = changed(file, tmp_path, "transaction_id", pa.array([ids[1], *ids[1:]]))
    with pytest.raises(InputError, match=r"cannot be trained on: transaction_id: .* occurs more than once"):
        run("train", str(doubled), "--mapping", "vedette", "--output", str(tmp_path / "model"))
    result = CliRunner().invoke(app, ("check", str(doubled), "--mapping", "vedette", "--json"))
    assert result.exit_code == 1
    (error,) = [x for x in json.loads(result.stdout.splitlines()[-1])["findings"] if x["severity"] == "error"]
    assert (error["column"], error["rows"]) == ("transaction_id", 2)


@pytest.mark.runs("check")
def test_a_clean_file_is_fit(file: Path) -> None:
    """Every row is counted, no finding is an error, and the exit code says so."""
    report = json.loads(run("check", str(file), "--mapping", "vedette", "--json").splitlines()[-1])
    assert report["rows"] == pq.read_metadata(file).num_rows
    assert report["rejected"] == 0
    assert all(finding["severity"] == "warning" for finding in report["findings"])


def test_the_answer_under_another_name_is_refused(file: Path, tmp_path: Path) -> None:
    """A column of the file that is derived from the label is refused, whatever its name."""
    fraud = pq.read_table(file)["fraud"].combine_chunks().cast(pa.float64())
    noise = pa.array(np.random.default_rng(0).random(len(fraud)))
    telling = changed(file, tmp_path, "case_size", pc.add(fraud, pc.multiply(noise, 0.5)))
    mapping = tmp_path / "mine.toml"
    base = Path("producers/mappings/vedette.toml").read_text(encoding="utf-8")
    mapping.write_text(f'extra = ["case_size"]\n{base}', encoding="utf-8")
    with pytest.raises(LeakageError, match=r"extra\.case_size alone ranks"):
        run("train", str(telling), "--mapping", str(mapping), "--output", str(tmp_path / "model"))


def test_lightgbms_own_start_is_refused_with_its_reason(file: Path, tmp_path: Path) -> None:
    """The trap can be requested, and is then explained with the fraction of frauds in these rows."""
    rare = changed(file, tmp_path, "fraud", pa.array(np.arange(pq.read_metadata(file).num_rows) % 60 == 0))
    with pytest.raises(InputError, match=r"boosting would start at the log-odds of the fraud rate r = \d\.\d+%"):
        run("train", str(rare), "--mapping", "vedette", "--set", "boost_from_average=true",
            "--output", str(tmp_path / "model"))  # fmt: skip


@pytest.mark.slow
def test_a_cluster_of_two_workers_trains_a_model_that_scores(tmp_path: Path) -> None:
    """With `--engine dask` the folder is an ordinary one, and its figures on the held-out week are as good."""
    outputs = {
        engine: run(*SIMULATED, "--set", "trees=30", "--engine", engine, "--output", str(tmp_path / engine), "--json")
        for engine in ("local", "dask")
    }
    auc = {engine: json.loads(out.splitlines()[-1])["mean"]["auc"] for engine, out in outputs.items()}
    assert auc["dask"] > auc["local"] - 0.03
    assert load_scorer(tmp_path / "dask").contract.features == list(NAMES)
