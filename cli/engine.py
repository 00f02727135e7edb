"""Where the work is done: on this machine or on a Dask cluster."""

from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum

import typer


class Engine(StrEnum):
    """What computes or trains."""

    local = "local"
    dask = "dask"


ENGINE = typer.Option("local", "--engine", help="dask: LightGBM and XGBoost learn on the workers of a cluster")
SCHEDULER = typer.Option(
    "", "--scheduler", metavar="ADDRESS", help="of that cluster, such as tcp://host:8786 [default: two workers here]"
)


def at_work(engine: Engine, scheduler: str, workers: int = 2) -> AbstractContextManager[str]:
    """The address of the scheduler, within the block; empty for this machine without a cluster.

    Args:
        engine: Which of the two.
        scheduler: Of a cluster; if empty, one is started here.
        workers: Of that one.

    Raises:
        InputError: A scheduler is named for an engine that has none.
        UnavailableError: Dask is not installed.
    """
    from features.cluster import scheduler_at
    from vedette.errors import InputError

    if engine is Engine.dask:
        return scheduler_at(scheduler, workers)
    if scheduler:
        raise InputError("--scheduler goes with --engine dask", remedy="name both")
    return nullcontext("")
