"""Supervised models that score one payment at a time."""

from collections.abc import Callable
from typing import Any

import numpy as np
from lightgbm import LGBMClassifier
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from adapters.extras import needs_extra
from models.zoo.builder import FitSettings, log_odds
from models.zoo.dask_boosting import Distributed
from models.zoo.loss import focal

Floats = NDArray[np.float64]


def logistic_regression(settings: FitSettings) -> Any:
    """Return a logistic regression on scaled features."""
    return LogisticRegression(**{"max_iter": 1000, **settings.parameters})


def random_forest(settings: FitSettings) -> Any:
    """Return a random forest: trees on bootstrap samples."""
    return RandomForestClassifier(random_state=settings.seed, n_jobs=settings.threads, **settings.parameters)


def balanced_bagging(settings: FitSettings) -> Any:
    """Return trees that each train on all frauds and a few honest rows.

    `depth` is the depth of the trees, `share` the number of frauds per honest row.
    """
    with needs_extra("models", "balanced bagging"):
        from imblearn.ensemble import BalancedBaggingClassifier  # noqa: PLC0415 - an extra

    parameters = dict(settings.parameters)
    tree = DecisionTreeClassifier(
        max_depth=parameters.pop("depth", None), class_weight="balanced" if settings.weighted else None
    )
    return BalancedBaggingClassifier(
        tree,
        sampling_strategy=parameters.pop("share", 1.0),
        random_state=settings.seed,
        n_jobs=settings.threads,
        **parameters,
    )


def xgboost(settings: FitSettings) -> Any:
    """Return XGBoost's boosted trees."""
    with needs_extra("models", "XGBoost"):
        from xgboost import XGBClassifier  # noqa: PLC0415 - an extra

    objective = {"objective": focal, "base_score": 0.5} if settings.focal else {}
    parameters = {"random_state": settings.seed, "n_jobs": settings.threads, **settings.parameters, **objective}
    if settings.scheduler:
        return Distributed("xgboost", parameters, settings.scheduler)
    return XGBClassifier(**parameters)


def lightgbm(settings: FitSettings) -> Any:
    """Return LightGBM's boosted trees, with LightGBM's defaults."""
    parameters = {
        "random_state": settings.seed,
        "n_jobs": settings.threads,
        "verbose": -1,
        "deterministic": True,
        "force_row_wise": True,
        **({"objective": focal} if settings.focal else {}),
        **settings.parameters,
    }
    if settings.scheduler:
        return Distributed("lightgbm", parameters, settings.scheduler)
    return LGBMClassifier(**parameters)


BUILDERS: dict[str, Callable[[FitSettings], Any]] = {
    "logistic_regression": logistic_regression,
    "random_forest": random_forest,
    "balanced_bagging": balanced_bagging,
    "xgboost": xgboost,
    "lightgbm": lightgbm,
    "lightgbm_defaults": lightgbm,
}
"""Builders by model name; `lightgbm_defaults` is included to show the effect of `boost_from_average`."""


def margins(model: Any, matrix: Floats) -> Floats:
    """Return the log-odds of fraud, float64 [n], whatever the library calls them."""
    if isinstance(model, LGBMClassifier):
        raw: Floats = model.booster_.predict(matrix, raw_score=True, num_threads=model.n_jobs or 1)
        return raw
    if type(model).__name__ == "XGBClassifier":
        return np.asarray(model.predict(matrix, output_margin=True), np.float64)
    return log_odds(np.asarray(model.predict_proba(matrix)[:, 1], np.float64))
