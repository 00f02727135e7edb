"""The mirror as a service, as `endpoint` runs the bridge."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from adapters.http_server import Readiness, serve
from adapters.metrics_app import metrics_app
from producers.bridge.endpoint import position_metrics
from producers.bridge.mirror import EventWriter, Mirror, MirrorProgress
from vedette.clock import Clock
from vedette.settings import Settings

_LOOP = "mirror"


def mirror_service(
    settings: Settings, name: str, target: str, write: EventWriter, *, clock: Clock, log: Any
) -> MirrorProgress:
    """Mirror a topic until SIGTERM or SIGINT; see run_service."""
    progress, readiness = MirrorProgress(), Readiness()
    readiness.wait(_LOOP, "starting")

    def loop(stop: threading.Event) -> None:
        mirror_until_idle(
            settings, name, target, write, progress=progress, clock=clock, log=log, stop=stop,
            on_step=lambda: readiness.works(_LOOP),
        )  # fmt: skip

    serve(
        metrics_app("Vedette mirror", MirrorMetrics(target, progress), readiness, log), {_LOOP: loop},
        host=settings.bridge.metrics_host, port=settings.bridge.metrics_port, proxies=[], readiness=readiness, log=log,
    )  # fmt: skip
    return progress


def mirror_until_idle(
    settings: Settings, name: str, target: str, write: EventWriter, *, progress: MirrorProgress, clock: Clock, log: Any,
    stop: threading.Event, until_idle_s: float = 0.0, on_step: Any = lambda: None,
) -> None:  # fmt: skip
    """Mirror a topic until stopped or idle; see Mirror for the errors."""
    instance = settings.bridge.instance or socket.gethostname()
    with closing(Mirror(settings, name, target, instance, write, progress, clock, log)) as mirror:
        log.info("mirroring", topic=name, target=target, instance=instance)
        mirror.run(stop, until_idle_s=until_idle_s, on_step=on_step)


class MirrorMetrics(Collector):
    """Prometheus metrics of a mirror."""

    def __init__(self, target: str, progress: MirrorProgress) -> None:
        self._target, self._progress = target, progress

    def collect(self) -> Iterator[Metric]:
        """Called by the registry."""
        messages = CounterMetricFamily(
            "vedette_mirror_messages", "Messages by what became of them", labels=["topic", "outcome"]
        )
        messages.add_metric([self._target, "mirrored"], self._progress.mirrored)
        messages.add_metric([self._target, "refused"], self._progress.refused)
        yield messages
        yield from position_metrics("vedette_mirror", self._target, self._progress)
