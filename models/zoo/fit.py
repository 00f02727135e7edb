"""From an entry and rows to a fitted model: select columns, clean, resample, fit."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline, make_pipeline

from features.catalogue import LIVE
from models.frame import Frame, together
from models.protocol import PUBLISHED
from models.zoo import anomaly, classic, networks
from models.zoo.builder import LENGTH, FitSettings
from models.zoo.champion import Champion
from models.zoo.cleaning import scaled
from models.zoo.counter import COUNTED, Counter
from models.zoo.entry import ModelEntry
from models.zoo.imbalance import balanced, sampler
from vedette.errors import InputError

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

STACKED, CHAMPION, COUNTER = "stacked", "vedette", "counter"
SEQUENCES = ("cnn", "lstm")
DEEP = ("feed_forward", *SEQUENCES, "autoencoder")
"""Models that need the extra `deep`."""
MODELS = (*classic.BUILDERS, STACKED, CHAMPION, COUNTER, *anomaly.BUILDERS, "feed_forward", *SEQUENCES)

_RAW = ("random_forest", "balanced_bagging", "xgboost", "lightgbm", "lightgbm_defaults", CHAMPION, COUNTER)
"""Models that accept missing values and any scale; cleaned nevertheless when a resampler measures distances."""
_DISTANCES = ("smote", "tomek", "smote_tomek", "gan")
_FOCAL = ("xgboost", "lightgbm", "lightgbm_defaults", STACKED, "feed_forward", *SEQUENCES)


@dataclass(frozen=True)
class Fitted:
    """A trained model with the cleaning that precedes it.

    Attributes:
        columns: Columns of the frame that it uses.
        length: Number of the account's payments that it reads at once.
        prepare: Cleaning step, if any.
        model: Estimator that gives the margins.
    """

    columns: NDArray[np.intp]
    length: int
    prepare: Pipeline | None
    model: Any

    def score(self, frame: Frame, rows: Rows) -> Floats:
        """Return log-odds of fraud for supervised models, anomaly scores for others; float64 [n], higher is riskier."""
        matrix = select(frame, rows, self.columns, self.length)
        return margins(self.model, matrix if self.prepare is None else self.prepare.transform(matrix))

    def importance(self, frame: Frame) -> dict[str, float]:
        """Return the importance that the model reports for each column, by name; empty if it reports none."""
        weights = getattr(self.model, "feature_importances_", None)
        if weights is None or len(weights) != len(self.columns):
            return {}
        return {frame.names[column]: float(weight) for column, weight in zip(self.columns, weights, strict=True)}


def fit(entry: ModelEntry, frame: Frame, rows: Rows, *, seed: int = 0, threads: int = 1, scheduler: str = "") -> Fitted:
    """Train an entry on some rows of a frame.

    Args:
        entry: What to train.
        frame: All rows; sequence models also look at earlier payments of the accounts, never at their labels.
        rows: Training rows.
        seed: Seed of everything random.
        threads: Maximum number of threads.
        scheduler: Address of a Dask cluster to train LightGBM, XGBoost and the champion on; empty for this machine.

    Raises:
        InputError: There is no such model, or it does not support the entry's imbalance method.
    """
    _check(entry)
    columns, length = chosen(entry, frame), LENGTH if entry.model in SEQUENCES else 1
    matrix, fraud = select(frame, rows, columns, length), frame.fraud[rows]
    prepare = _preparation(entry, seed, threads)
    if prepare is not None:
        matrix = prepare.fit_transform(matrix)
    weighted = entry.imbalance == "class_weights"
    settings = FitSettings(entry.parameters, seed, threads, weighted, entry.imbalance == "focal", scheduler)
    if entry.model in anomaly.BUILDERS:
        return Fitted(columns, length, prepare, anomaly.BUILDERS[entry.model](settings).fit(matrix))
    resample = sampler(entry.imbalance, seed)
    if resample is not None:
        matrix, fraud = resample.fit_resample(matrix, fraud)
    weights = {"sample_weight": balanced(fraud)} if weighted and entry.model != "balanced_bagging" else {}
    model = _builder(entry)(settings)
    model.fit(matrix, fraud, **weights)
    return Fitted(columns, length, prepare, model)


def chosen(entry: ModelEntry, frame: Frame) -> NDArray[np.intp]:
    """Return the indices of the frame's columns that an entry uses."""
    if entry.model == COUNTER:
        counted = [column for column, name in enumerate(frame.names) if COUNTED.fullmatch(name)]
        if not counted:
            raise InputError("the frame has no live counts of accounts", remedy="leave counter out of the comparison")
        return np.array(counted)
    if entry.features == "all":
        return np.arange(len(frame.names))
    if entry.features == "settled":
        return np.array([column for column, name in enumerate(frame.names) if name not in LIVE])
    absent = [name for name in PUBLISHED if name not in frame.names]
    if absent:
        raise InputError(f"the frame has no column {absent[0]}", remedy="compare with features = all")
    return np.array([frame.names.index(name) for name in PUBLISHED])


def select(frame: Frame, rows: Rows, columns: NDArray[np.intp], length: int = 1) -> Floats:
    """Return the matrix of these rows and columns, float64 [n, length x columns]; contiguous ones are not copied.

    With a length above 1 a row begins with the account's earlier payments, oldest first, NaN where there are none.
    """
    whole = len(columns) == len(frame.names)
    if length == 1:
        part = frame.matrix[together(rows)]
        return part if whole else part[:, columns]
    order = np.lexsort((frame.event_time, frame.account))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    matrix = np.full((len(rows), length, len(columns)), np.nan)
    for back in range(length):
        at = place[rows] - back
        before = order[np.maximum(at, 0)]
        same = np.flatnonzero((at >= 0) & (frame.account[before] == frame.account[rows]))
        matrix[same, length - 1 - back] = frame.matrix[before[same]][:, columns]
    return matrix.reshape(len(rows), -1)


def margins(model: Any, matrix: Floats) -> Floats:
    """Return the scores that a model of the zoo gives these rows; higher is riskier."""
    if hasattr(model, "margins"):
        return np.asarray(model.margins(matrix), np.float64)
    if hasattr(model, "score_samples"):
        return -np.asarray(model.score_samples(matrix), np.float64)
    return classic.margins(model, matrix)


def _check(entry: ModelEntry) -> None:
    if entry.model not in MODELS:
        raise InputError(f"there is no model {entry.model!r}", remedy=f"choose among {', '.join(MODELS)}")
    unfit = (
        (entry.model in anomaly.BUILDERS and entry.imbalance != "none", "learns without labels"),
        (entry.imbalance == "focal" and entry.model not in _FOCAL, "does not train by the gradient of a loss"),
        (entry.model == COUNTER and entry.imbalance != "none", "only counts"),
        (entry.model == CHAMPION and entry.imbalance != "none", "needs unmodified rows, as it gives probabilities"),
    )
    for is_so, why in unfit:
        if is_so:
            raise InputError(f"{entry.model} {why}, so it does not support {entry.imbalance}", remedy="choose another")


def _preparation(entry: ModelEntry, seed: int, threads: int) -> Pipeline | None:
    if entry.model in SEQUENCES:
        return scaled(flags=False)
    if entry.model == STACKED:
        return make_pipeline(*scaled(), anomaly.WithAnomaly(seed, threads))
    if entry.model in _RAW and entry.imbalance not in _DISTANCES:
        return None
    return scaled()


def _builder(entry: ModelEntry) -> Any:
    if entry.model == STACKED:
        return classic.xgboost
    if entry.model == CHAMPION:
        return Champion
    if entry.model == COUNTER:
        return Counter
    if entry.model in classic.BUILDERS:
        return classic.BUILDERS[entry.model]
    return networks.BUILDERS[entry.model]
