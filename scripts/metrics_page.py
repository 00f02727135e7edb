"""Print docs/metrics.md: every metric of every service, from the registries themselves.

python -m scripts.metrics_page > docs/metrics.md
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from adapters.http_server import Readiness
from adapters.metrics_app import ReadinessCollector
from archive.endpoint import ArchiveMetrics
from archive.service import Progress
from challenges.metrics import ChallengeMetrics
from gateway.metrics import GatewayMetrics
from gateway.webhooks.metrics import WebhookMetrics
from monitoring import files, redis_server
from monitoring.consumer_groups import lag_metrics
from monitoring.outbox import Counted, metrics_of
from monitoring.probes import Probe, Probes
from producers.bridge.endpoint import BridgeMetrics
from producers.bridge.loop import BridgeProgress
from producers.bridge.mirror import MirrorProgress
from producers.bridge.mirror_endpoint import MirrorMetrics
from streams.history.model_monitor import Gauges
from streams.metrics import Metrics
from vedette.clock import SystemClock

LABELS = {
    "action": "the four actions of a decision",
    "certificate": "settings that name a certificate, and files of `[monitor] certificates`",
    "channel": "channels of messages",
    "code": "response codes of the card listener's policy",
    "column": "the score and the features of the catalogue",
    "folder": "folders of `[monitor] folders`",
    "kind": "kinds of transactions",
    "log": "files of `[monitor] audit_logs`",
    "model": "versions that this process has had in force",
    "outcome": "a fixed set of words",
    "part": "parts of the process, a fixed set",
    "partition": "partitions of a topic",
    "probe": "probes of the monitor",
    "reason": "a fixed set of words",
    "role": "champion, challenger, policy",
    "rule": "shadow rules of the policy",
    "server": "servers of the Redis",
    "service": "services that read topics",
    "stage": "stages of a batch",
    "status": "a fixed set of words",
    "topic": "topics of the deployment",
    "type": "message types of ISO 8583 that the listener knows",
    "version": "versions in force at present",
}
"""Every label of every metric, and what bounds the number of its values."""


@dataclass(frozen=True)
class Described:
    """A metric as it is exposed."""

    service: str
    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


def registries() -> dict[str, Collector]:
    """Return the metrics of every service, as they are just after its start."""
    clock = SystemClock()
    info = {"used_memory": 1, "maxmemory": 0, "total_system_memory": 2, "maxmemory_policy": "noeviction",
            "aof_enabled": 1, "aof_last_write_status": "ok"}  # fmt: skip
    probes = Probes(
        [
            Probe("redis", lambda: redis_server.of_info({"redis": info}), 1),
            Probe("kafka", lambda: lag_metrics({}), 1),
            Probe("database", lambda: metrics_of(Counted({}, [], [], 0)), 1),
            Probe("certificates", lambda: files.look_at_certificates({}), 1),
            Probe("disks", lambda: files.look_at_disks([]), 1),
            Probe("audit", lambda: files.look_at_audit([]), 1),
        ],
        clock, None,
    )  # fmt: skip
    probes.step()
    return {
        "worker": Metrics().registry,
        "gateway": GatewayMetrics().registry,
        "webhooks": WebhookMetrics().registry,
        "mfa": ChallengeMetrics().registry,
        "archive": _registry(ArchiveMetrics(Progress())),
        "bridge": _registry(BridgeMetrics("payments", BridgeProgress())),
        "mirror": _registry(MirrorMetrics("payments", MirrorProgress())),
        "drift": Gauges().registry,
        "monitor": _registry(probes),
        "all but worker": _registry(ReadinessCollector(Readiness())),
    }


def _registry(collector: Collector) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(collector)
    return registry


def described() -> Iterator[Described]:
    """Yield every metric of every service, by service and name."""
    for service, registry in registries().items():
        for collector in tuple(registry._collector_to_names):  # type: ignore[attr-defined]  # noqa: SLF001, nothing public tells the labels
            for family in sorted(collector.collect(), key=lambda family: family.name):
                labels: Any = getattr(collector, "_labelnames", None) or getattr(family, "_labelnames", None) or ()
                name = f"{family.name}_total" if family.type == "counter" else family.name
                yield Described(service, name, family.type, tuple(labels), family.documentation)


def page() -> str:
    """Return the page in Markdown."""
    lines = [
        "# Metrics", "", "Every metric of every service; `python -m scripts.metrics_page` prints this page from their",
        "registries. [monitoring.md](monitoring.md) says where they are served and what is made of them.", "",
        "| service | metric | type | labels | meaning |", "| --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    for each in sorted(described(), key=lambda each: (each.service, each.name)):
        labels = ", ".join(f"`{label}`" for label in each.labels)
        lines.append(f"| {each.service} | `{each.name}` | {each.kind} | {labels} | {each.help} |")
    lines += ["", "No label has a value of a customer or a payment: each is bounded.", ""]
    lines += ["| label | its values |", "| --- | --- |"]
    lines += [f"| `{label}` | {bound} |" for label, bound in LABELS.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    print(page())
