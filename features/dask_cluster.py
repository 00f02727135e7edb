"""A Dask cluster (extra `dask`): an existing one, or temporary workers on this machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from adapters.extras import needs_extra
from vedette.errors import UnavailableError

_ANSWERS_WITHIN = "5s"


@contextmanager
def scheduler_at(address: str, workers: int = 2) -> Iterator[str]:
    """Yield the address of a scheduler: the given one, or that of workers started on this machine.

    Raises:
        UnavailableError: Dask is not installed.
    """
    library = _distributed()
    if address:
        yield address
        return
    # Without an address its dashboard would bind port 8787, which another cluster on this machine may use.
    with library.LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0") as local:
        yield local.scheduler_address


@contextmanager
def connected(scheduler: str) -> Iterator[Any]:
    """Yield a distributed.Client of the cluster whose scheduler is at this address.

    Raises:
        UnavailableError: Dask is not installed, no scheduler answers there, or it has no workers.
    """
    library = _distributed()
    try:
        client = library.Client(scheduler, timeout=_ANSWERS_WITHIN)
    except (OSError, ValueError) as error:
        raise UnavailableError(
            f"no Dask scheduler answers at {scheduler}", remedy="start one with `dask scheduler`"
        ) from error
    with client:
        if not workers_of(client):
            raise UnavailableError(f"the cluster at {scheduler} has no workers", remedy="start some: `dask worker`")
        yield client


def workers_of(client: Any) -> int:
    """Return the number of workers of a cluster."""
    return len(client.scheduler_info(n_workers=-1)["workers"])


def _distributed() -> Any:
    with needs_extra("dask", "a Dask cluster"):
        import distributed  # noqa: PLC0415 - an extra
    return distributed
