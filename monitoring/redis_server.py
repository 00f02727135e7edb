"""Memory and persistence of the Redis that holds the state."""

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric

from adapters.redis import reachable


def look(client: Any) -> Iterator[Metric]:
    """Ask Redis, or each master of a cluster.

    Raises:
        UnavailableError: It does not answer.
    """
    with reachable():
        answer = client.info()
    servers = answer if all(isinstance(value, Mapping) for value in answer.values()) else {"redis": answer}
    yield from of_info(servers)


def of_info(servers: Mapping[str, Mapping[str, Any]]) -> Iterator[Metric]:
    """Yield the metrics in the answers to INFO, by server."""
    used = GaugeMetricFamily("vedette_redis_memory_used_bytes", "Memory that Redis uses", labels=["server"])
    most = GaugeMetricFamily(
        "vedette_redis_memory_max_bytes", "Memory that Redis may use: maxmemory, or else that of the machine",
        labels=["server"],
    )  # fmt: skip
    evicts = GaugeMetricFamily(
        "vedette_redis_evicts", "1 if Redis may delete state when memory is short: its policy is not noeviction",
        labels=["server"],
    )  # fmt: skip
    persists = GaugeMetricFamily(
        "vedette_redis_persists", "1 if the append-only file is on and its last write succeeded", labels=["server"]
    )
    for name, info in sorted(servers.items()):
        used.add_metric([name], float(info["used_memory"]))
        most.add_metric([name], float(info["maxmemory"] or info["total_system_memory"]))
        evicts.add_metric([name], float(info["maxmemory_policy"] != "noeviction"))
        on = info["aof_enabled"] and info["aof_last_write_status"] == "ok"
        persists.add_metric([name], float(bool(on and info.get("aof_last_bgrewrite_status", "ok") == "ok")))
    yield from (used, most, evicts, persists)
