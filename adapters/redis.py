"""Connections to Redis: one server, a cluster, or the master that Sentinels name."""

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
from vedette.settings_base import Secret

_CLUSTER = "+cluster://"
_SENTINEL = "+sentinel://"
_SENTINEL_PORT = 26379


def connect(settings: RedisSettings) -> Any:
    """Return a client for the kind of Redis that the URL names; it never repeats a command.

    Raises:
        SettingsError: The URL is not valid.
        UnavailableError: The cluster does not answer; any other Redis is not contacted until it is used.
    """
    options: dict[str, Any] = {
        "password": _value(settings.password),
        "socket_timeout": settings.timeout_s,
        "socket_connect_timeout": settings.timeout_s,
        # The worker repeats whole steps; a hidden retry of a write would obscure the outcome.
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
    """Return a client that asks the Sentinels for the master whenever it connects."""
    url = urlsplit(settings.url)
    service, _, database = url.path.removeprefix("/").partition("/")
    if not (service and url.netloc) or "@" in url.netloc:
        raise ValueError("the URL of Sentinels is redis+sentinel://host:port,host:port/service, without a password")
    sentinels = []
    for address in url.netloc.split(","):
        one = urlsplit(f"//{address}")
        sentinels.append((one.hostname, one.port or _SENTINEL_PORT))
    tls = {"ssl": True} if url.scheme.startswith("rediss") else {}
    sentinel_options = options | tls | {"password": _value(settings.sentinel_password)}
    finder = Sentinel(sentinels, sentinel_kwargs=sentinel_options, **options, **tls)  # type: ignore[no-untyped-call]
    return finder.master_for(service, db=int(database or 0))  # type: ignore[no-untyped-call]


def _value(secret: Secret | None) -> str | None:
    return secret.value if secret else None


@contextmanager
def reachable() -> Iterator[None]:
    """Turn the errors of redis-py into UnavailableError."""
    try:
        yield
    except (redis.RedisError, RedisClusterException) as error:
        raise UnavailableError(f"Redis: {error}", remedy="`vedette doctor` finds the problem") from error
