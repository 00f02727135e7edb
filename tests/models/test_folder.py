import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from features.catalogue import NAMES, catalogue_hash
from models import load_scorer
from models.explain import reasons
from models.folder import read_baseline, read_contract, save
from models.frame import Frame
from models.train import TrainedModel
from vedette.errors import ModelError


def edit(path: Path, **changes: object) -> None:
    """Change fields of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_contract_says_what_the_model_is(folder: Path, history: Frame, model: TrainedModel) -> None:
    """Features in order, span, hashes and figures are in the contract; nobody has approved it yet."""
    contract = read_contract(folder)
    assert contract.features == list(history.names)
    assert contract.features_hash == catalogue_hash()
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
    """The new model is there, the old one and temporary folders are gone."""
    save(folder, model, history, name="second", label_delay_days=7, folds=[], created_at=1, git_commit="abc")
    assert load_scorer(folder).version.startswith("second@")
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_the_scorer_predicts_what_the_trained_model_did(
    folder: Path, history: Frame, model: TrainedModel, rows: np.ndarray
) -> None:
    """Picking columns out of the whole catalogue and reading the folder back change no bit."""
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
    """TreeSHAP explains the score fully: what is left over is the same for every row."""
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
    """A row without the extra column is no row for this model."""
    with pytest.raises(ModelError, match=f"scores rows of {len(NAMES) + 1} columns, not {len(NAMES)}"):
        load_scorer(folder).predict(rows[:, :-1])


def test_reasons_name_what_raised_the_score(folder: Path, rows: np.ndarray) -> None:
    """The highest scored payments are explained by amount and place, with their values; night only if it is night."""
    scorer = load_scorer(folder)
    highest = np.argsort(-scorer.predict(rows))[:20]
    told = reasons(scorer, rows[highest], top=2)
    amount = rows[highest[0], NAMES.index("amount_major")]
    assert f"amount of {amount:,.2f}" in told[0]
    assert any(reason.startswith("risk of 0.") for reason in told[0])
    assert all(len(row) <= 2 for row in told)
    day = rows[rows[:, NAMES.index("is_night")] == 0][:500]
    assert not any("at night" in row for row in reasons(scorer, day, top=5))


def test_a_missing_value_is_told_as_unknown(folder: Path, rows: np.ndarray) -> None:
    """A feature that is missing is never told with the value nan."""
    told = [reason for row in reasons(load_scorer(folder), rows[:500], top=5) for reason in row]
    assert not any("nan" in reason.lower().split() for reason in told)
    assert any(reason.startswith("unknown: ") for reason in told)


@pytest.mark.parametrize("file", ["model.txt", "contract.json"])
def test_a_missing_file_is_refused(folder: Path, file: str) -> None:
    """The message names the file that is not there."""
    (folder / file).unlink()
    with pytest.raises(ModelError, match=file):
        load_scorer(folder)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """The message says how to get one."""
    with pytest.raises(ModelError, match="vedette train"):
        load_scorer(tmp_path / "nowhere")


@pytest.mark.parametrize("cut", [0, -1, 100])
def test_a_changed_booster_is_refused(folder: Path, cut: int) -> None:
    """Empty, one byte short or cut in the header: the SHA-256 tells."""
    booster = folder / "model.txt"
    booster.write_bytes(booster.read_bytes()[:cut])
    with pytest.raises(ModelError, match="SHA-256"):
        load_scorer(folder)


def test_a_model_of_other_features_is_refused(folder: Path) -> None:
    """Both hashes are in the message, and what to do."""
    edit(folder / "contract.json", features_hash="0123456789abcdef")
    with pytest.raises(ModelError, match=rf"0123456789ab.*{catalogue_hash()[:12]}.*train it anew"):
        load_scorer(folder)


def test_a_contract_whose_features_are_not_the_boosters_is_refused(folder: Path) -> None:
    """Swapping two columns in the contract would score nonsense, so it is no model."""
    features = read_contract(folder).features
    edit(folder / "contract.json", features=[features[1], features[0], *features[2:]])
    with pytest.raises(ModelError, match="different features"):
        load_scorer(folder)


def test_a_contract_with_an_unknown_feature_is_refused(folder: Path) -> None:
    """A feature that the catalogue does not have is named."""
    edit(folder / "contract.json", features=["shoe_size"])
    with pytest.raises(ModelError, match="'shoe_size', which is no feature"):
        load_scorer(folder)


@pytest.mark.parametrize(
    ("content", "message"), [("{", "truncated"), ("[]", "object"), ("{}", "missing required field")]
)
def test_a_broken_contract_is_refused(folder: Path, content: str, message: str) -> None:
    """Whatever is wrong with the JSON, the message names the file and what is wrong."""
    (folder / "contract.json").write_text(content)
    with pytest.raises(ModelError, match=message) as caught:
        load_scorer(folder)
    assert "contract.json" in str(caught.value)


def test_a_folder_of_a_newer_layout_is_refused(folder: Path) -> None:
    """Before complaining about its fields, the reader says that it is too old."""
    edit(folder / "contract.json", format=2, new_field=1)
    with pytest.raises(ModelError, match="layout 2, this version reads up to 1"):
        load_scorer(folder)


def test_a_booster_that_is_none_is_refused(folder: Path) -> None:
    """A text whose hash is right but which LightGBM cannot read is named."""
    (folder / "model.txt").write_bytes(b"not a tree\n")
    edit(folder / "contract.json", model_sha256=hashlib.sha256(b"not a tree\n").hexdigest())
    with pytest.raises(ModelError, match="no LightGBM model"):
        load_scorer(folder)
