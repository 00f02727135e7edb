"""The drift report as a page, made by Evidently against the baseline of a model folder."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from adapters.extras import needs_extra
from models.drift import MOVED
from models.folder import Baseline, BaselineDistribution

_REFERENCE_ROWS = 1_000
_MOST_ROWS = 20_000


def write_report(
    file: Path,
    baseline: Baseline,
    names: tuple[str, ...],
    matrix: NDArray[np.float64],
    score: NDArray[np.float64],
    seed: int = 0,
) -> None:
    """Write a self-contained page.

    A model folder keeps quantiles and no payments, so the reference is a sample with those quantiles, column by column,
    which is enough to compare columns one by one.

    Args:
        file: Path of the page.
        baseline: Baseline of the model.
        names: Names of the columns of `matrix`; those that the model does not use are left out.
        matrix: float64 [n, len(names)].
        score: float64 [n].
        seed: Seed of the sample of rows, if there are more than the page can show.

    Raises:
        UnavailableError: Evidently is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Evidently uses what its libraries have deprecated
        with needs_extra("models", "the drift page"):
            from evidently import Report  # noqa: PLC0415 - takes seconds
            from evidently.presets import DataDriftPreset  # noqa: PLC0415
        rows = np.arange(len(matrix))
        if len(rows) > _MOST_ROWS:
            rows = np.sort(np.random.default_rng(seed).choice(rows, _MOST_ROWS, replace=False))
        now, before = {"score": score[rows]}, {"score": _sample(baseline, baseline.score)}
        for column, name in enumerate(names):
            # A column without a value on either side cannot be drawn; `vedette drift` itself still counts it.
            known = not np.isnan(matrix[rows, column]).all()
            if name in baseline.features and baseline.features[name].quantiles and known:
                now[name] = matrix[rows, column]
                before[name] = _sample(baseline, baseline.features[name])
        report = Report([DataDriftPreset(method="psi", threshold=MOVED)])
        report.run(pd.DataFrame(now), pd.DataFrame(before)).save_html(str(file))


def _sample(baseline: Baseline, column: BaselineDistribution) -> NDArray[np.float64]:
    """Return rows whose quantiles and missing share are those of the baseline."""
    missing = round(_REFERENCE_ROWS * column.missing)
    at = np.linspace(0, 1, max(_REFERENCE_ROWS - missing, 1))
    place = np.searchsorted(baseline.levels, at, "right") - 1
    return np.concatenate([np.array(column.quantiles)[place], np.full(missing, np.nan)])
