"""Boosted trees trained on a Dask cluster, for training sets larger than one machine."""

import warnings
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.cluster import connected, workers_of
from models.guards import boosting
from models.train import Learn, TrainingConfig, boost

Floats = NDArray[np.float64]
Library = Literal["lightgbm", "xgboost"]

_TARGET, _WEIGHT = "__fraud__", "__weight__"


def learner(scheduler: str) -> Learn:
    """What `models.train.boost` does, on the cluster of this scheduler; that itself if none is named.

    A cluster's booster is as good, but has other bytes.
    """
    if not scheduler:
        return boost

    def learn(matrix: Floats, fraud: NDArray[np.bool_], config: TrainingConfig, names: tuple[str, ...] = ()) -> Any:
        parameters = {**config.parameters(), "n_estimators": config.trees}
        boosting.check(parameters, fraud)
        return train("lightgbm", matrix, fraud, parameters, names=names, scheduler=scheduler)

    return learn


class Distributed:
    """LightGBM or XGBoost as a model of the zoo that learns on a cluster and scores here."""

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
        """Log-odds, float64 [n]."""
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
    """Train on the workers of a cluster and bring back an ordinary booster.

    Args:
        library: Which one.
        matrix: float64 [n, columns], dealt out in a block per worker.
        fraud: bool [n].
        parameters: Of the library's classifier, such as `n_estimators`.
        scheduler: Address of the cluster's scheduler, such as `tcp://host:8786`.
        names: Of the columns.
        weight: float64 [n], of the rows; all the same without.

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

        dealt = dataframe.from_pandas(table, npartitions=workers_of(client), sort=False)
        model = _classifier(library, parameters, client)
        with warnings.catch_warnings():
            # It says that every worker chooses its own number of threads, whether one was named or not.
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
