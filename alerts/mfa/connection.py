"""How the service reaches Redis: one server or a cluster."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.exceptions import RedisClusterException
from redis.retry import Retry

from vedette.errors import SettingsError, UnavailableError
from vedette.settings import RedisSettings

_CLUSTER = "+cluster://"


def connect(settings: RedisSettings) -> Any:
    """A client for any number of threads; `redis+cluster://` (or `rediss+cluster://`) is a cluster's URL.

    Raises:
        SettingsError: The URL is not one.
        UnavailableError: The cluster does not say which node has what; a single Redis is first asked when needed.
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
        return redis.Redis.from_url(settings.url, **options)
    except ValueError as error:
        raise SettingsError(f"[redis] url: {error}") from error


@contextmanager
def reachable() -> Iterator[None]:
    """Turn Redis's errors into UnavailableError."""
    try:
        yield
    except (redis.RedisError, RedisClusterException) as error:
        raise UnavailableError(f"Redis: {error}", remedy="`vedette doctor` says what is wrong with it") from error
