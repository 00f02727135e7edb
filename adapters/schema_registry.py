"""The client of a schema registry that speaks Confluent's REST API."""

from typing import Any

from confluent_kafka.schema_registry import SchemaRegistryClient

from vedette.settings import SchemaSettings


def registry_client(settings: SchemaSettings) -> Any:
    """Return a client, which caches what it has read; nothing is asked yet. Needs the extra `schemas`."""
    config: dict[str, Any] = {"url": settings.url.rstrip("/"), "timeout": settings.timeout_s, "max.retries": 2}
    if settings.username:
        password = settings.password.value if settings.password else ""
        config["basic.auth.user.info"] = f"{settings.username}:{password}"
    if settings.ca_file:
        config["ssl.ca.location"] = settings.ca_file
    return SchemaRegistryClient(config)
