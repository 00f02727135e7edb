"""How the service reaches Redis: one server, a cluster, or the master that Sentinels name."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.exceptions import RedisClusterException
from redis.retry import Retry
from redis.sentinel import Sentinel

from vedette.errors import SettingsError, UnavailableError
from vedette.settings import RedisSettings

_CLUSTER, _SENTINEL = "+cluster://", "+sentinel://"


def connect(settings: RedisSettings) -> Any:
    """A client for any number of threads, of the kind of Redis that the URL names.

    Raises:
        SettingsError: The URL is not one.
        UnavailableError: The cluster does not say which node has what; any other Redis is first asked when needed.
    """
    options: dict[str, Any] = {
        "password": settings.password.value if settings.password else None,
        "socket_timeout": settings.timeout_s,
        "socket_connect_timeout": settings.timeout_s,
        # Whether a step that was not answered took place is seen by reading, not by repeating it blindly.
        "retry": Retry(NoBackoff(), 0),
    }
    try:
        if _CLUSTER in settings.url:
            with reachable():
                return RedisCluster.from_url(settings.url.replace(_CLUSTER, "://", 1), **options)
        if _SENTINEL in settings.url:
            return _master(settings, options)
        return redis.Redis.from_url(settings.url, **options)
    except ValueError as error:
        raise SettingsError(f"[redis] url: {error}") from error


def _master(settings: RedisSettings, options: dict[str, Any]) -> Any:
    """A client that asks the Sentinels who is master whenever it connects."""
    url = urlsplit(settings.url.replace(_SENTINEL, "://", 1))
    service, _, database = url.path.removeprefix("/").partition("/")
    if not (service and url.netloc) or "@" in url.netloc:
        raise ValueError("a Sentinel's is redis+sentinel://host:port,host:port/service, without a password")
    addresses = [urlsplit(f"//{address}") for address in url.netloc.split(",")]
    options |= {"ssl": True} if url.scheme == "rediss" else {}
    secret = settings.sentinel_password.value if settings.sentinel_password else None
    sentinels = Sentinel(  # type: ignore[no-untyped-call]
        [(each.hostname, each.port or 26379) for each in addresses],
        sentinel_kwargs=options | {"password": secret},
        **options,
    )
    return sentinels.master_for(service, db=int(database or 0))  # type: ignore[no-untyped-call]


@contextmanager
def reachable() -> Iterator[None]:
    """Turn Redis's errors into UnavailableError."""
    try:
        yield
    except (redis.RedisError, RedisClusterException) as error:
        raise UnavailableError(f"Redis: {error}", remedy="`vedette doctor` says what is wrong with it") from error
