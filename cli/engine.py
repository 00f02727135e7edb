"""Where boosters are trained: on this machine or on a Dask cluster."""

from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum

import typer


class Engine(StrEnum):
    """What trains."""

    local = "local"
    dask = "dask"


ENGINE = typer.Option("local", "--engine", help="dask: LightGBM and XGBoost learn on the workers of a cluster")
SCHEDULER = typer.Option(
    "", "--scheduler", metavar="ADDRESS", help="of that cluster, such as tcp://host:8786 [default: two workers here]"
)


def trained_on(engine: Engine, scheduler: str) -> AbstractContextManager[str]:
    """The address of the scheduler, within the block; empty for this machine.

    Raises:
        InputError: A scheduler is named for an engine that has none.
        UnavailableError: Dask is not installed.
    """
    from vedette.errors import InputError

    if engine is Engine.local:
        if scheduler:
            raise InputError("--scheduler goes with --engine dask", remedy="name both")
        return nullcontext("")
    from models.zoo.cluster import scheduler_at

    return scheduler_at(scheduler)
