import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from features.catalogue import NAMES, SETTLED, hash_for
from models.explain import reasons
from models.folder import read_baseline, read_contract, save
from models.frame import Frame
from models.scorer import load_scorer
from models.train import TrainedModel
from vedette.errors import ModelError


def edit(path: Path, **changes: object) -> None:
    """Change fields of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_contract_says_what_the_model_is(folder: Path, history: Frame, model: TrainedModel) -> None:
    """Features in order, span, hashes and figures are in the contract; nobody has approved it yet."""
    contract = read_contract(folder)
    assert contract.features == list(history.names)
    assert contract.features_hash == hash_for(history.names)
    assert (contract.trained_from, contract.trained_to) == (history.event_time[0], history.event_time[-1])
    assert (contract.training_rows, contract.training_frauds) == (len(history), history.fraud.sum())
    assert contract.version == contract.model_sha256[:8]
    assert contract.validation == model.validation
    assert contract.approvals == []
    assert contract.libraries.keys() >= {"lightgbm", "numpy", "vedette"}


def test_the_baseline_holds_quantiles_and_missing_shares(folder: Path, history: Frame) -> None:
    """Half of the amounts lie below the middle quantile; a tenth of the gaps is missing."""
    baseline = read_baseline(folder)
    middle = baseline.features["amount_major"].quantiles[baseline.levels.index(0.5)]
    assert (history.matrix[:, 0] < middle).mean() == pytest.approx(0.5, abs=0.001)
    assert baseline.features["seconds_since_last"].missing == np.isnan(history.matrix[:, 3]).mean()
    assert 0 <= min(baseline.score.quantiles) <= max(baseline.score.quantiles) <= 1


def test_saving_again_replaces_the_folder_and_leaves_nothing_beside_it(
    folder: Path, history: Frame, model: TrainedModel
) -> None:
    """The new model is there, and the old one and temporary folders are gone."""
    save(folder, model, history, name="second", label_delay_days=7, folds=[], created_at=1, git_commit="abc")
    assert load_scorer(folder).version.startswith("second@")
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_the_scorer_predicts_what_the_trained_model_did(
    folder: Path, history: Frame, model: TrainedModel, rows: np.ndarray
) -> None:
    """Selecting columns from the whole catalogue and reading the folder back change no bit."""
    assert (load_scorer(folder).predict(rows) == model.predict(history.matrix[: len(rows)])).all()


def test_a_row_has_the_same_bits_in_any_batch(folder: Path, rows: np.ndarray) -> None:
    """Alone, in small and large batches, in Fortran order or in a slice, the probability is bit for bit the same."""
    scorer = load_scorer(folder)
    whole = scorer.predict(rows)
    for size in (1, 7, 64, 999):
        count = size * max(1, 300 // size)
        parts = [scorer.predict(rows[start : start + size]) for start in range(0, count, size)]
        assert np.concatenate(parts).tobytes() == whole[:count].tobytes()
    assert scorer.predict(np.asfortranarray(rows)).tobytes() == whole.tobytes()
    assert scorer.predict(rows[::2]).tobytes() == whole[::2].tobytes()
    assert scorer.predict(rows[:0]).shape == (0,)


def test_contributions_and_a_constant_add_up_to_the_margin(folder: Path, rows: np.ndarray) -> None:
    """TreeSHAP explains the score fully: the remainder is the same for every row."""
    scorer = load_scorer(folder)
    shares = scorer.contributions(rows[:200])
    assert shares.shape == (200, len(scorer.names))
    left = scorer.margins(rows[:200]) - shares.sum(axis=1)
    assert left == pytest.approx(np.full(200, left[0]))
    assert scorer.contributions(rows[:0]).shape == (0, len(scorer.names))


def test_the_scorer_says_what_it_is(folder: Path) -> None:
    """Version, extra columns and threshold come from the contract."""
    scorer = load_scorer(folder)
    contract = read_contract(folder)
    assert scorer.version == f"test@{contract.model_sha256[:8]}"
    assert scorer.extra == ("risk",)
    assert scorer.threshold == contract.thresholds.lowest_cost


def test_a_matrix_of_another_width_is_refused(folder: Path, rows: np.ndarray) -> None:
    """A row without the extra column is refused by this model."""
    with pytest.raises(ModelError, match=f"scores rows of {len(NAMES) + 1} columns, not {len(NAMES)}"):
        load_scorer(folder).predict(rows[:, :-1])


def test_reasons_name_what_raised_the_score(folder: Path, rows: np.ndarray) -> None:
    """A vendor feature among the highest of training is given with its value and what is usual."""
    scorer = load_scorer(folder)
    highest = np.argsort(-scorer.predict(rows))[:200]
    told = reasons(scorer, rows[highest], ["EUR"] * 200, top=2)
    (limit,) = {reason.values["usual"] for row in told for reason in row if reason.code == "vendor-high"}
    said = {reason.text for row in told for reason in row if reason.code == "vendor-high"}
    assert all(text.startswith("risk is 0.9") and text.endswith(f"(at most {limit:.4g})") for text in said)
    assert all(len(row) <= 2 for row in told)


def test_a_missing_value_is_no_reason(folder: Path, rows: np.ndarray) -> None:
    """No text shows a missing feature, however much it adds to the score."""
    told = [reason for row in reasons(load_scorer(folder), rows[:500], ["EUR"] * 500, top=5) for reason in row]
    assert told
    assert not any("nan" in reason.text.lower().split() for reason in told)


@pytest.mark.parametrize("file", ["model.txt", "contract.json", "baseline.json"])
def test_a_missing_file_is_refused(folder: Path, file: str) -> None:
    """The error names the missing file."""
    (folder / file).unlink()
    with pytest.raises(ModelError, match=file):
        load_scorer(folder)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """The error says how to get one."""
    with pytest.raises(ModelError, match="vedette train"):
        load_scorer(tmp_path / "nowhere")


@pytest.mark.parametrize("cut", [0, -1, 100])
def test_a_changed_booster_is_refused(folder: Path, cut: int) -> None:
    """An empty file, one byte short, or cut in the header is detected by the SHA-256."""
    booster = folder / "model.txt"
    booster.write_bytes(booster.read_bytes()[:cut])
    with pytest.raises(ModelError, match="SHA-256"):
        load_scorer(folder)


def test_a_model_of_other_features_is_refused(folder: Path) -> None:
    """The error has both hashes and the remedy."""
    edit(folder / "contract.json", features_hash="0123456789abcdef")
    with pytest.raises(ModelError, match=rf"0123456789ab.*{hash_for(SETTLED)[:12]}.*train it again"):
        load_scorer(folder)


def test_a_contract_whose_features_are_not_the_boosters_is_refused(folder: Path) -> None:
    """Two swapped columns in the contract would give meaningless scores, so the folder is refused."""
    features = read_contract(folder).features
    edit(folder / "contract.json", features=[features[1], features[0], *features[2:]])
    with pytest.raises(ModelError, match="different features"):
        load_scorer(folder)


def test_a_contract_with_an_unknown_feature_is_refused(folder: Path) -> None:
    """A feature that the catalogue does not have is named."""
    edit(folder / "contract.json", features=["shoe_size"])
    with pytest.raises(ModelError, match="'shoe_size', which is not a feature"):
        load_scorer(folder)


@pytest.mark.parametrize(
    ("content", "message"), [("{", "truncated"), ("[]", "object"), ("{}", "missing required field")]
)
def test_a_broken_contract_is_refused(folder: Path, content: str, message: str) -> None:
    """Whatever is wrong with the JSON, the error names the file and the mistake."""
    (folder / "contract.json").write_text(content)
    with pytest.raises(ModelError, match=message) as caught:
        load_scorer(folder)
    assert "contract.json" in str(caught.value)


def test_a_folder_of_a_newer_layout_is_refused(folder: Path) -> None:
    """The reader first says that it is too old, before it reports any field."""
    edit(folder / "contract.json", format=2, new_field=1)
    with pytest.raises(ModelError, match="layout 2, this version reads up to 1"):
        load_scorer(folder)


def test_a_booster_that_is_none_is_refused(folder: Path) -> None:
    """A text whose hash is right but which LightGBM cannot read is named."""
    (folder / "model.txt").write_bytes(b"not a tree\n")
    edit(folder / "contract.json", model_sha256=hashlib.sha256(b"not a tree\n").hexdigest())
    with pytest.raises(ModelError, match="not a LightGBM model"):
        load_scorer(folder)
