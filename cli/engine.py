"""The engine for features and training: this machine or a Dask cluster."""

from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum

import typer


class Engine(StrEnum):
    """Engine of the computation."""

    local = "local"
    dask = "dask"


ENGINE = typer.Option("local", "--engine", help="dask: LightGBM and XGBoost train on the workers of a cluster")
SCHEDULER = typer.Option(
    "",
    "--scheduler",
    metavar="ADDRESS",
    help="address of the cluster's scheduler, such as tcp://host:8786 [default: two workers here]",
)


def cluster_of(engine: Engine, scheduler: str, workers: int = 2) -> AbstractContextManager[str]:
    """Return a context that yields the address of the scheduler; empty for this machine without a cluster.

    Args:
        engine: The engine.
        scheduler: Address of a cluster; if empty, one is started here.
        workers: Number of processes of a cluster that is started here.

    Raises:
        InputError: A scheduler is named for the local engine.
        UnavailableError: Dask is not installed.
    """
    from adapters.extras import require_extra
    from features.dask_cluster import scheduler_at
    from vedette.errors import InputError

    if engine is Engine.dask:
        require_extra("dask", "--engine dask", "dask", "distributed")
        return scheduler_at(scheduler, workers)
    if scheduler:
        raise InputError("--scheduler requires --engine dask", remedy="give both")
    return nullcontext("")
