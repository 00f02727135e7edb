"""The web app of a service that has only metrics, health and readiness."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from adapters.http_app import protected_app
from adapters.http_server import METRICS_TYPE, Readiness


class ReadinessCollector(Collector):
    """Failing parts of a process as metrics.

    Args:
        readiness: The failing parts.
    """

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness

    def collect(self) -> Iterator[Metric]:
        """Called by the registry."""
        missing = self._readiness.missing()
        yield GaugeMetricFamily("vedette_ready", "1 if every part of the process works", value=float(not missing))
        parts = GaugeMetricFamily("vedette_part_failing", "1 for every part that does not work", labels=["part"])
        for part in sorted(missing):
            parts.add_metric([part], 1.0)
        yield parts


def metrics_app(title: str, collector: Collector | CollectorRegistry, readiness: Readiness, log: Any) -> FastAPI:
    """Return the app: /metrics for Prometheus, /healthz and /readyz for the platform.

    Args:
        title: Name of the service.
        collector: Its metrics, or a registry of them.
        readiness: Its failing parts.
        log: A structlog logger.
    """
    app = protected_app(title=title, public_url="", log=log)
    parts = ReadinessCollector(readiness)

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(collector) + generate_latest(parts), media_type=METRICS_TYPE)

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz")
    def readyz() -> JSONResponse:
        missing = readiness.missing()
        return JSONResponse({"missing": missing}, 503 if missing else 200)

    return app
