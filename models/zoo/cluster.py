"""Boosted trees trained on a Dask cluster, for training sets larger than one machine."""

import warnings
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vedette.errors import UnavailableError

Floats = NDArray[np.float64]
Library = Literal["lightgbm", "xgboost"]

_TARGET = "__fraud__"


def train(
    library: Library,
    matrix: Floats,
    fraud: NDArray[np.bool_],
    parameters: dict[str, Any],
    *,
    names: tuple[str, ...],
    rounds: int,
    scheduler: str,
) -> Any:
    """Train on the workers of a cluster and bring back an ordinary booster.

    Args:
        library: Which one.
        matrix: float64 [n, columns], dealt out in a block per worker.
        fraud: bool [n].
        parameters: The library's own.
        names: Of the columns.
        rounds: Number of trees.
        scheduler: Address of the cluster's scheduler, such as `tcp://host:8786`.

    Returns:
        A lightgbm.Booster or an xgboost.Booster.

    Raises:
        UnavailableError: Dask is not installed, no scheduler answers there, or it has no workers.
    """
    try:
        from dask import dataframe  # noqa: PLC0415 - dask is an extra
        from distributed import Client  # noqa: PLC0415
    except ImportError as error:
        raise UnavailableError("Dask is not installed", remedy="pip install 'vedette[dask]'") from error
    try:
        client = Client(scheduler, timeout="5s")
    except (OSError, ValueError) as error:
        raise UnavailableError(
            f"no Dask scheduler answers at {scheduler}", remedy="start one with `dask scheduler`"
        ) from error
    with client:
        workers = len(client.scheduler_info(n_workers=-1)["workers"])
        if not workers:
            raise UnavailableError(f"the cluster at {scheduler} has no workers", remedy="start some: `dask worker`")
        table = pd.DataFrame(matrix, columns=list(names))
        table[_TARGET] = fraud.astype(np.float64)
        dealt = dataframe.from_pandas(table, npartitions=workers, sort=False)
        rows, target = dealt[list(names)], dealt[_TARGET]
        if library == "lightgbm":
            from lightgbm import DaskLGBMClassifier  # noqa: PLC0415

            model = DaskLGBMClassifier(client=client, n_estimators=rounds, **parameters)
            with warnings.catch_warnings():
                # It says that every worker chooses its own number of threads, whether one was named or not.
                warnings.filterwarnings("ignore", "Parameter (n_jobs|num_threads) will be ignored", UserWarning)
                return model.fit(rows, target).booster_
        from xgboost import dask as xgboost  # noqa: PLC0415

        data = xgboost.DaskDMatrix(client, rows, target)
        return xgboost.train(client, parameters, data, num_boost_round=rounds)["booster"]
