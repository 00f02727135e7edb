from pathlib import Path

import numpy as np
import pytest

from models.frame import Frame
from models.zoo import ModelEntry, search
from vedette.clock import DAY
from vedette.errors import InputError

SMALL = ModelEntry(model="vedette", parameters={"least_rows_in_leaf": 20})


def pairs(history: Frame) -> search.Pairs:
    """Two validations of four days, after a delay of seven."""
    return search.prequential(history, days=4, delay=7, steps=2)


def test_every_validation_lies_a_delay_after_what_teaches(history: Frame) -> None:
    """Labels have arrived, and the last validation ends with the data."""
    found = pairs(history)
    for teach, judge in found:
        assert history.event_time[teach].max() < history.event_time[judge].min() - 6.9 * DAY
    assert found[-1][1][-1] == len(history) - 1
    assert found[0][1][-1] + 1 == found[1][1][0]


def test_parts_of_a_table_are_judged_by_what_is_before_them(history: Frame) -> None:
    """Three parts serve for validation, one after another, and each is then part of the next training."""
    found = search.parts(history, 3)
    assert [len(teach) for teach, _ in found] == [3_000, 6_000, 9_000]
    assert all(teach[-1] + 1 == judge[0] for teach, judge in found)


def test_a_search_goes_on_where_it_stopped(history: Frame, tmp_path: Path) -> None:
    """Trials of an earlier run count, so the same call again runs no more trials."""

    def run(trials: int) -> search.Found:
        return search.optimise(
            SMALL, history, pairs(history), trials=trials, seconds=None, storage=tmp_path / "trials.db"
        )

    first, again, more = run(2), run(2), run(3)
    assert first == again
    assert (first.trials, more.trials) == (2, 3)
    assert more.average_precision >= first.average_precision > 0


def test_a_time_budget_ends_a_search(history: Frame, tmp_path: Path) -> None:
    """Without time no trial ends, which is reported."""
    with pytest.raises(InputError, match="no trial ended"):
        search.optimise(SMALL, history, pairs(history), trials=50, seconds=1e-9, storage=tmp_path / "trials.db")


def test_a_grid_tries_everything(history: Frame) -> None:
    """Four combinations are tried, and the best of them is returned."""
    entry = ModelEntry(model="logistic_regression")
    found = search.grid(entry, history, pairs(history), {"C": [1e-6, 1.0], "max_iter": [200, 300]})
    assert (found.trials, found.parameters["C"]) == (4, 1.0)


def test_what_cannot_be_searched_is_said(history: Frame, tmp_path: Path) -> None:
    """A model without a search space, and validations without frauds."""
    with pytest.raises(InputError, match="nothing to search for"):
        search.optimise(
            ModelEntry(model="isolation_forest"), history, [], trials=1, seconds=None, storage=tmp_path / "trials.db"
        )
    honest = Frame(**{**vars(history), "fraud": np.zeros(len(history), np.bool_)})
    with pytest.raises(InputError, match="take fewer"):
        search.prequential(honest, days=4, delay=7, steps=2)
