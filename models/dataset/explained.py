"""What a version of the model makes of a data set: importance and partial dependence of its features."""

from collections.abc import Iterable

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.dataset.statistics import NumberStatistics, number
from models.importance import importance
from models.offline import score
from models.scorer import Scorer
from vedette.errors import InputError

_SAMPLE = 20_000
_CONTRIBUTED = 3_000
_AVERAGED = 500
_POINTS = 25
_SHOWN = 12


class PartialDependence(msgspec.Struct, frozen=True, kw_only=True):
    """Mean probability of fraud where a feature has a value and all others are as they are (Friedman 2001)."""

    feature: str
    values: list[float]
    probability: list[float]


class FeatureImportance(msgspec.Struct, frozen=True, kw_only=True):
    """Share of the mean absolute contributions to the log-odds (TreeSHAP)."""

    feature: str
    fraction: float


class ExplainedDataset(msgspec.Struct, frozen=True, kw_only=True):
    """A version of the model on a data set.

    Attributes:
        model: Name and version.
        payments: Number of payments in the sample.
        importance: The most important features first.
        dependence: Partial dependence of these.
        features: Statistics of these.
    """

    model: str
    payments: int
    importance: list[FeatureImportance]
    dependence: list[PartialDependence]
    features: list[NumberStatistics]


def explain(scorer: Scorer, batches: Iterable[pa.RecordBatch], *, seed: int = 0) -> ExplainedDataset:
    """Return what a version makes of payments, from a random sample of them.

    Args:
        scorer: The version.
        batches: Canonical batches in order of event time; features are computed from these payments alone.
        seed: Of the sample.

    Raises:
        InputError: There are no payments, or they are not in order of event time.
    """
    rng = np.random.default_rng(seed)
    kept, keys, fraud, labelled = np.empty((0, 0)), np.empty(0), np.empty(0, np.bool_), np.empty(0, np.bool_)
    for part in score(scorer, batches, explain="none"):
        key = rng.random(len(part.rows))  # the rows with the smallest keys are a sample of all
        known = part.transactions.column("fraud")
        rows = np.concatenate([kept.reshape(-1, part.rows.shape[1]), part.rows])
        keys, fraud, labelled = (
            np.concatenate([keys, key]),
            np.concatenate([fraud, known.fill_null(False).to_numpy(zero_copy_only=False)]),
            np.concatenate([labelled, known.is_valid().to_numpy(zero_copy_only=False)]),
        )
        chosen = np.sort(np.argpartition(keys, _SAMPLE - 1)[:_SAMPLE]) if len(keys) > _SAMPLE else slice(None)
        kept, keys, fraud, labelled = rows[chosen], keys[chosen], fraud[chosen], labelled[chosen]
    if not len(kept):
        raise InputError("there is no payment to score", remedy="check the file, its mapping and the time span")
    ranked = importance(scorer, kept[rng.choice(len(kept), min(_CONTRIBUTED, len(kept)), replace=False)])
    shown = [one.feature for one in ranked[:_SHOWN]]
    columns = {name: scorer.column(name) for name in shown}
    averaged = kept[rng.choice(len(kept), min(_AVERAGED, len(kept)), replace=False)]
    return ExplainedDataset(
        model=scorer.version,
        payments=len(kept),
        importance=[FeatureImportance(feature=one.feature, fraction=one.fraction) for one in ranked[: 2 * _SHOWN]],
        dependence=[_dependence(scorer, name, column, kept, averaged) for name, column in columns.items()],
        features=[number(name, kept[:, column], fraud, labelled) for name, column in columns.items()],
    )


def _dependence(
    scorer: Scorer, name: str, column: int, rows: NDArray[np.float64], averaged: NDArray[np.float64]
) -> PartialDependence:
    known = rows[:, column][~np.isnan(rows[:, column])]
    values = np.unique(np.quantile(known, np.linspace(0.01, 0.99, _POINTS))) if len(known) else np.empty(0)
    probability = []
    for value in values:
        changed = averaged.copy()
        changed[:, column] = value
        probability.append(float(scorer.predict(changed).mean()))
    return PartialDependence(feature=name, values=values.tolist(), probability=probability)
