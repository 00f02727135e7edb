import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from features.catalogue import NAMES
from models import load_scorer
from models.folder import read_contract
from models.protocol import PUBLISHED
from vedette.errors import InputError

SIMULATED = ("train", "--simulate", "--customers", "150", "--days", "24", "--seed", "5", "--name", "small")


def run(*arguments: str) -> str:
    """Run the command to its end and return what it printed."""
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_the_same_command_writes_the_same_model(tmp_path: Path) -> None:
    """Simulating, computing features and training twice gives the same bytes, and a model that loads."""
    outputs = [run(*SIMULATED, "--output", str(tmp_path / name), "--json") for name in "ab"]
    assert (tmp_path / "a/model.txt").read_bytes() == (tmp_path / "b/model.txt").read_bytes()
    report = json.loads(outputs[0].splitlines()[-1])
    assert report["model"] == load_scorer(tmp_path / "a").version
    assert len(report["folds"]) == 1
    assert report["mean"]["auc"] == report["folds"][0]["test"]["auc"] > 0.8
    assert read_contract(tmp_path / "a").features == list(NAMES)


def test_a_file_teaches_with_the_published_features_alone(tmp_path: Path) -> None:
    """What `vedette simulate` wrote is read back through its mapping, within the span asked for."""
    file = tmp_path / "payments.parquet"
    run("simulate", "--customers", "150", "--days", "24", "--seed", "5", "--output", str(file))
    folder = tmp_path / "model"
    arguments = ("--mapping", "vedette", "--features", "published", "--from", "2018-04-03", "--to", "2018-04-22")
    table = run("train", str(file), *arguments, "--output", str(folder))
    contract = read_contract(folder)
    assert contract.features == list(PUBLISHED)
    assert contract.folds == []
    assert "validation" in table


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train",), "nothing to learn from"),
        (("train", "payments.csv"), "--mapping NAME"),
        (("train", "payments.csv", "--mapping", "no-such"), "there is no mapping 'no-such'"),
        (("train", "--simulate", "--days", "5", "--customers", "20"), "shorter than the label delay"),
    ],
)
def test_what_cannot_be_trained_is_said_in_a_sentence(arguments: tuple[str, ...], message: str) -> None:
    """Every wrong call raises an error that the command line prints with its remedy."""
    with pytest.raises(InputError, match=message):
        run(*arguments)
