"""Boosted trees trained on a Dask cluster, for training sets larger than one machine."""

import warnings
from itertools import pairwise
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.dask_cluster import connected, workers_of
from models import boosting_start
from models.train import Learn, TrainingConfig, boost

Floats = NDArray[np.float64]
Library = Literal["lightgbm", "xgboost"]

_TARGET, _WEIGHT = "__fraud__", "__weight__"


def learner(scheduler: str) -> Learn:
    """Return a counterpart of `models.train.boost` that trains on this scheduler's cluster, or `boost` itself if empty.

    A booster trained on a cluster is as good, but is not byte-identical.
    """
    if not scheduler:
        return boost

    def learn(matrix: Floats, fraud: NDArray[np.bool_], config: TrainingConfig, names: tuple[str, ...] = ()) -> Any:
        parameters = {**config.parameters(), "n_estimators": config.trees}
        boosting_start.check(parameters, fraud)
        return train("lightgbm", matrix, fraud, parameters, names=names, scheduler=scheduler)

    return learn


class Distributed:
    """LightGBM or XGBoost as a model of the zoo that trains on a cluster and scores locally."""

    def __init__(self, library: Library, parameters: dict[str, Any], scheduler: str) -> None:
        self._library = library
        self._parameters = parameters
        self._scheduler = scheduler

    def fit(self, matrix: Floats, fraud: NDArray[np.bool_], sample_weight: Floats | None = None) -> Self:
        """Learn from these rows."""
        self._booster = train(
            self._library, matrix, fraud, self._parameters, weight=sample_weight, scheduler=self._scheduler
        )
        return self

    def margins(self, matrix: Floats) -> Floats:
        """Return log-odds, float64 [n]."""
        if self._library == "lightgbm":
            raw = self._booster.predict(matrix, raw_score=True)
        else:
            raw = self._booster.inplace_predict(matrix, predict_type="margin", validate_features=False)
        return np.asarray(raw, np.float64)


def train(
    library: Library,
    matrix: Floats,
    fraud: NDArray[np.bool_],
    parameters: dict[str, Any],
    *,
    scheduler: str,
    names: tuple[str, ...] = (),
    weight: Floats | None = None,
) -> Any:
    """Train on the workers of a cluster and return an ordinary booster.

    Args:
        library: The boosting library.
        matrix: float64 [n, columns], distributed in one block per worker.
        fraud: bool [n].
        parameters: Parameters of the library's classifier, such as `n_estimators`.
        scheduler: Address of the cluster's scheduler, such as `tcp://host:8786`.
        names: Names of the columns.
        weight: float64 [n], weights of the rows; None for equal weights.

    Returns:
        A lightgbm.Booster or an xgboost.Booster.

    Raises:
        UnavailableError: Dask is not installed, no scheduler answers there, or it has no workers.
    """
    columns = list(names) or [f"column_{number}" for number in range(matrix.shape[1])]
    table = pd.DataFrame(matrix, columns=columns)
    table[_TARGET] = fraud.astype(np.float64)
    if weight is not None:
        table[_WEIGHT] = weight
    with connected(scheduler) as client:
        from dask import dataframe  # noqa: PLC0415 - dask is an extra

        # Sent to the workers as data: as a part of the graph they would pass through the scheduler.
        edges = np.linspace(0, len(table), workers_of(client) + 1).astype(int)
        blocks = client.scatter([table.iloc[start:end] for start, end in pairwise(edges)])
        dealt = dataframe.from_delayed(blocks, meta=table.iloc[:0])
        model = _classifier(library, parameters, client)
        with warnings.catch_warnings():
            # LightGBM warns that every worker chooses its number of threads, whether or not one was given.
            warnings.filterwarnings("ignore", "Parameter (n_jobs|num_threads) will be ignored", UserWarning)
            model.fit(dealt[columns], dealt[_TARGET], sample_weight=None if weight is None else dealt[_WEIGHT])
        return model.booster_ if library == "lightgbm" else model.get_booster()


def _classifier(library: Library, parameters: dict[str, Any], client: Any) -> Any:
    if library == "lightgbm":
        from lightgbm import DaskLGBMClassifier  # noqa: PLC0415

        return DaskLGBMClassifier(client=client, **parameters)
    from xgboost.dask import DaskXGBClassifier  # noqa: PLC0415

    model = DaskXGBClassifier(**parameters)
    model.client = client
    return model
