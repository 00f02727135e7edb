"""The bridge as a service: it starts again after trouble, and says over HTTP how far it has come."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from adapters.http_server import Readiness, serve
from adapters.metrics_app import metrics_app
from producers.bridge.conversion import Conversion
from producers.bridge.copying import CopyProgress
from producers.bridge.loop import Bridge, BridgeProgress
from vedette.clock import Clock
from vedette.settings import Settings

_LOOP = "bridge"


def run_service(settings: Settings, topic: str, conversion: Conversion, *, clock: Clock, log: Any) -> BridgeProgress:
    """Bridge a topic until SIGTERM or SIGINT; call it from the main thread.

    Trouble with the broker or the schema registry is logged, makes the service unready, and is tried again after a
    pause, which grows to half a minute. What was not committed is read again.
    """
    progress, readiness = BridgeProgress(), Readiness()
    readiness.wait(_LOOP, "starting")

    def loop(stop: threading.Event) -> None:
        run_until_idle(
            settings, topic, conversion, progress=progress, clock=clock, log=log, stop=stop,
            on_step=lambda: readiness.works(_LOOP),
        )  # fmt: skip

    serve(
        metrics_app("Vedette bridge", BridgeMetrics(topic, progress), readiness, log), {_LOOP: loop},
        host=settings.bridge.metrics_host, port=settings.bridge.metrics_port, proxies=[], readiness=readiness, log=log,
    )  # fmt: skip
    return progress


def run_until_idle(
    settings: Settings, topic: str, conversion: Conversion, *, progress: BridgeProgress, clock: Clock, log: Any,
    stop: threading.Event, until_idle_s: float = 0.0, on_step: Any = lambda: None,
) -> None:  # fmt: skip
    """Bridge a topic until stopped or idle; see Bridge for the errors."""
    instance = settings.bridge.instance or socket.gethostname()
    with closing(Bridge(settings, topic, instance, conversion, progress, clock, log)) as bridge:
        log.info("bridging", topic=topic, instance=instance)
        bridge.run(stop, until_idle_s=until_idle_s, on_step=on_step)


class BridgeMetrics(Collector):
    """Prometheus metrics of a run."""

    def __init__(self, topic: str, progress: BridgeProgress) -> None:
        self._topic = topic
        self._progress = progress

    def collect(self) -> Iterator[Metric]:
        """Called by the registry."""
        progress = self._progress
        messages = CounterMetricFamily(
            "vedette_bridge_messages",
            "Messages of the foreign topic by what became of them",
            labels=["topic", "outcome"],
        )
        for outcome in ("transactions", "refused", "tombstones", "left_out"):
            messages.add_metric([self._topic, outcome], getattr(progress, outcome))
        yield messages
        labels = CounterMetricFamily("vedette_bridge_labels", "Labels published", labels=["topic"])
        labels.add_metric([self._topic], progress.labels)
        yield labels
        yield from position_metrics("vedette_bridge", self._topic, progress)


def position_metrics(prefix: str, topic: str, progress: CopyProgress) -> Iterator[Metric]:
    """Yield how far a copy has come."""
    lag = GaugeMetricFamily(f"{prefix}_lag_messages", "Messages that are not yet read", labels=["topic", "partition"])
    for partition, behind in sorted((progress.lag or {}).items()):
        lag.add_metric([topic, str(partition)], behind)
    yield lag
    yield GaugeMetricFamily(
        f"{prefix}_last_commit_timestamp_seconds",
        "When messages were last committed, seconds since 1970-01-01 UTC; 0: not since the start",
        value=progress.committed_at / 1000,
    )
