"""The web app of a service that has only metrics, health and readiness."""

from typing import Any

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from adapters.http_app import protected_app
from adapters.http_server import Readiness

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def metrics_app(title: str, collector: Collector | CollectorRegistry, readiness: Readiness, log: Any) -> FastAPI:
    """Return the app: /metrics for Prometheus, /healthz and /readyz for the platform.

    Args:
        title: Name of the service.
        collector: Its metrics, or a registry of them.
        readiness: Its failing parts.
        log: A structlog logger.
    """
    app = protected_app(title=title, public_url="", log=log)

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(collector), media_type=METRICS_TYPE)

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz")
    def readyz() -> JSONResponse:
        missing = readiness.missing()
        return JSONResponse({"missing": missing}, 503 if missing else 200)

    return app
