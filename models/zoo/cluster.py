"""Boosted trees trained on a Dask cluster, for training sets larger than one machine."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.guards import boosting
from models.train import Learn, TrainingConfig
from vedette.errors import UnavailableError

Floats = NDArray[np.float64]
Library = Literal["lightgbm", "xgboost"]

_TARGET, _WEIGHT = "__fraud__", "__weight__"
_WORKERS = 2
"""Of a cluster on this machine."""


@contextmanager
def scheduler_at(address: str) -> Iterator[str]:
    """The address of a cluster's scheduler: the one given, or else that of two workers started on this machine.

    Raises:
        UnavailableError: Dask is not installed.
    """
    if address:
        yield address
        return
    _check_installed()
    from distributed import LocalCluster  # noqa: PLC0415 - dask is an extra

    with LocalCluster(n_workers=_WORKERS, threads_per_worker=1, dashboard_address=None) as local:
        yield local.scheduler_address


def learner(scheduler: str) -> Learn:
    """What `models.train.boost` does, on a cluster. Its booster is as good, but has other bytes."""

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
    _check_installed()
    from dask import dataframe  # noqa: PLC0415 - dask is an extra

    columns = list(names) or [f"column_{number}" for number in range(matrix.shape[1])]
    table = pd.DataFrame(matrix, columns=columns)
    table[_TARGET] = fraud.astype(np.float64)
    if weight is not None:
        table[_WEIGHT] = weight
    with _client(scheduler) as client:
        workers = len(client.scheduler_info(n_workers=-1)["workers"])
        if not workers:
            raise UnavailableError(f"the cluster at {scheduler} has no workers", remedy="start some: `dask worker`")
        dealt = dataframe.from_pandas(table, npartitions=workers, sort=False)
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


def _client(scheduler: str) -> Any:
    from distributed import Client  # noqa: PLC0415

    try:
        return Client(scheduler, timeout="5s")
    except (OSError, ValueError) as error:
        raise UnavailableError(
            f"no Dask scheduler answers at {scheduler}", remedy="start one with `dask scheduler`"
        ) from error


def _check_installed() -> None:
    try:
        import dask  # noqa: F401, PLC0415
        import distributed  # noqa: F401, PLC0415
    except ImportError as error:
        raise UnavailableError("Dask is not installed", remedy="pip install 'vedette[dask]'") from error
