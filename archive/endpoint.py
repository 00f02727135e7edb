"""The archive as a service: it starts again after trouble, and says over HTTP how far it has come.

/metrics is for Prometheus, /healthz and /readyz for the platform.
"""

import threading
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from adapters.http_server import Readiness, serve
from adapters.metrics_app import metrics_app
from archive.service import Progress, run
from vedette.clock import Clock
from vedette.settings import Settings

_LOOP = "archive"
_TOPICS = "topics"


def run_service(settings: Settings, *, clock: Clock, log: Any) -> Progress:
    """Archive all topics until SIGTERM or SIGINT; call it from the main thread.

    Trouble with broker or storage is logged, makes the service unready, and is tried again after a pause, which grows
    to half a minute. What was not committed is read again.
    """
    progress, readiness = Progress(), Readiness()
    readiness.wait(_LOOP, "starting")

    def step() -> None:
        if progress.problem:
            readiness.wait(_TOPICS, progress.problem)
        else:
            readiness.works(_TOPICS)
            if not progress.waiting:  # all that was read is stored
                readiness.works(_LOOP)

    def loop(stop: threading.Event) -> None:
        run(settings, clock=clock, log=log, stop=stop, progress=progress, on_step=step)

    archive = settings.archive
    serve(
        make_app(progress, readiness, log), {_LOOP: loop}, host=archive.metrics_host, port=archive.metrics_port,
        proxies=[], readiness=readiness, log=log,
    )  # fmt: skip
    return progress


def make_app(progress: Progress, readiness: Readiness, log: Any) -> FastAPI:
    """Return the web app of metrics, health and readiness."""
    return metrics_app("Vedette archive", ArchiveMetrics(progress), readiness, log)


class ArchiveMetrics(Collector):
    """Prometheus metrics of a run."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def collect(self) -> Iterator[Metric]:
        """Called by the registry."""
        progress = self._progress
        rows = CounterMetricFamily("vedette_archive_rows", "Rows written to the tables", labels=["topic"])
        rejected = CounterMetricFamily(
            "vedette_archive_rejected", "Messages that are not valid and were passed", labels=["topic"]
        )
        lag = GaugeMetricFamily(
            "vedette_archive_lag_messages", "Messages of a topic that are not yet in the archive", labels=["topic"]
        )
        for family, values in ((rows, progress.rows), (rejected, progress.rejected), (lag, progress.lag)):
            for topic, value in sorted(values.copy().items()):
                family.add_metric([topic], value)
            yield family
        yield GaugeMetricFamily(
            "vedette_archive_waiting_messages", "Messages in memory that wait for their commit", value=progress.waiting
        )
        yield GaugeMetricFamily(
            "vedette_archive_last_commit_timestamp_seconds",
            "When rows were last committed, seconds since 1970-01-01 UTC; 0: not since the start",
            value=progress.committed_at / 1000,
        )
