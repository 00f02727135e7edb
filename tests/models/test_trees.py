"""The compiled walk gives the bits of LightGBM, and leaves it the trees that it cannot walk."""

import re

import lightgbm
import numpy as np
import pytest
from numpy.typing import NDArray

from models.booster import Booster
from models.trees import read_trees

FEATURES = 6
COLUMNS = np.array([7, 1, 2, 0, 4, 3])
"""Of a matrix of eight columns, in another order than the model's features."""


def matrix(n: int, seed: int) -> NDArray[np.float64]:
    """Return rows with all that a feature may be: NaN, infinite, huge, zero, almost zero, whole, repeated."""
    rng = np.random.default_rng(seed)
    odd = [
        np.nan,
        np.inf,
        -np.inf,
        0.0,
        -0.0,
        1e-36,
        -1e-36,
        float(np.float32(1e-35)),
        -float(np.float32(1e-35)),
        1e300,
    ]
    values = np.where(rng.random((n, 8)) < 0.5, rng.integers(-3, 4, (n, 8)), rng.normal(size=(n, 8)))
    return np.where(rng.random((n, 8)) < 0.2, rng.choice(odd, (n, 8)), values)


def trained(**parameters: object) -> str:
    """Return a booster as text, trained on rows whose label depends on their values and on what is missing."""
    given = matrix(2_000, seed=1)[:, COLUMNS]
    finite = np.nan_to_num(given, nan=2.0, posinf=3.0, neginf=-3.0)
    label = (finite.clip(-3, 3).sum(axis=1) > 1).astype(float)
    settings = {"objective": "binary", "verbosity": -1, "num_leaves": 9, "min_data_in_leaf": 5, "num_threads": 1}
    categorical = parameters.pop("categorical_feature", "auto")
    data = lightgbm.Dataset(np.where(given == 1e300, 9.0, given), label, categorical_feature=categorical)  # type: ignore[arg-type]
    return lightgbm.train({**settings, **parameters}, data, num_boost_round=25).model_to_string()


def moved(text: str, threshold: str) -> str:
    """Return a booster in which the first threshold of each tree is replaced."""
    without_sizes = re.sub(r"\ntree_sizes=[^\n]*", "", text)  # LightGBM cuts the text by them
    return re.sub(r"(\nthreshold=)\S+", rf"\g<1>{threshold}", without_sizes)


@pytest.mark.parametrize(
    "parameters", [{}, {"use_missing": False}, {"num_leaves": 2}, {"boosting": "dart"}, {"num_leaves": 40}], ids=str
)
def test_the_walk_has_the_bits_of_lightgbm(parameters: dict[str, object]) -> None:
    """Whatever the values and the number of rows, each margin is the same bit for bit."""
    text = trained(**parameters)
    trees, booster = read_trees(text, COLUMNS), lightgbm.Booster(model_str=text)
    assert trees is not None
    for n in (1, 31, 32, 33, 500):
        rows = matrix(n, seed=n)
        expected = booster.predict(rows[:, COLUMNS], raw_score=True)
        assert trees.margins(rows).tobytes() == np.asarray(expected).tobytes()
        assert trees.margins(np.asfortranarray(rows)).tobytes() == np.asarray(expected).tobytes()


@pytest.mark.parametrize(
    "threshold", ["0", "-0", "5e-36", "-5e-36", "1.0000000180025095e-35", "-1.0000000180025095e-35"]
)
def test_a_threshold_next_to_zero_parts_the_same_rows(threshold: str) -> None:
    """LightGBM treats values close to zero as zero; so does the walk, wherever the threshold is."""
    text = moved(trained(), threshold)
    trees, booster = read_trees(text, COLUMNS), lightgbm.Booster(model_str=text)
    assert trees is not None
    rows = matrix(2_000, seed=5)
    assert trees.margins(rows).tobytes() == np.asarray(booster.predict(rows[:, COLUMNS], raw_score=True)).tobytes()


def test_a_tree_without_a_split_is_walked() -> None:
    """A booster that could not split anything gives every row the same margin."""
    text = trained(min_data_in_leaf=3_000)
    trees, booster = read_trees(text, COLUMNS), lightgbm.Booster(model_str=text)
    assert trees is not None
    rows = matrix(40, seed=2)
    assert trees.margins(rows).tobytes() == np.asarray(booster.predict(rows[:, COLUMNS], raw_score=True)).tobytes()


@pytest.mark.parametrize(
    "parameters",
    [
        {"categorical_feature": [3], "max_cat_to_onehot": 1},
        {"zero_as_missing": True},
        {"linear_tree": True},
        {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
    ],
    ids=str,
)
def test_other_trees_are_left_to_lightgbm(parameters: dict[str, object]) -> None:
    """Categories, zeros that are missing, linear leaves and averages are not walked; the scores are LightGBM's."""
    text = trained(**parameters)
    assert read_trees(text, COLUMNS) is None
    rows = matrix(100, seed=3)
    expected = lightgbm.Booster(model_str=text).predict(rows[:, COLUMNS], raw_score=True)
    assert Booster(text, COLUMNS).margins(rows).tobytes() == np.asarray(expected).tobytes()


@pytest.mark.parametrize(
    "parameters",
    [{}, {"use_missing": False}, {"num_leaves": 2}, {"boosting": "dart"}, {"num_leaves": 64}, {"num_leaves": 80}],
    ids=str,
)
def test_contributions_are_those_of_lightgbm(parameters: dict[str, object]) -> None:
    """Each feature contributes what LightGBM says, and a row's contributions do not depend on the other rows."""
    text = trained(**parameters)
    booster = Booster(text, COLUMNS)
    rows = matrix(300, seed=4)
    expected = np.asarray(lightgbm.Booster(model_str=text).predict(rows[:, COLUMNS], pred_contrib=True))[:, :-1]
    found = booster.contributions(rows)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    assert found.shape == (300, FEATURES)
    assert abs(found).max() > 0.1
    for n in (1, 7, 8, 9):
        assert booster.contributions(rows[:n]).tobytes() == found[:n].tobytes()


def test_a_tree_without_a_split_contributes_nothing() -> None:
    """A booster that could not split anything has no reason for its score."""
    assert not Booster(trained(min_data_in_leaf=3_000), COLUMNS).contributions(matrix(3, seed=4)).any()


@pytest.mark.parametrize(
    "text",
    [
        trained(categorical_feature=[3], max_cat_to_onehot=1),
        re.sub(r"\n(leaf|internal)_count=[^\n]*", "", re.sub(r"\ntree_sizes=[^\n]*", "", trained())),
    ],
    ids=["categories", "without counts"],
)
def test_contributions_of_other_trees_are_left_to_lightgbm(text: str) -> None:
    """What cannot be computed here has the bits of LightGBM."""
    rows = matrix(20, seed=4)
    expected = lightgbm.Booster(model_str=text).predict(rows[:, COLUMNS], pred_contrib=True)
    given = np.ascontiguousarray(np.asarray(expected)[:, :-1])
    assert Booster(text, COLUMNS).contributions(rows).tobytes() == given.tobytes()
