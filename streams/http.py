"""The worker's HTTP endpoint: /metrics for Prometheus, /healthz and /readyz for the platform."""

import json
from collections.abc import Callable

import structlog
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from adapters.http_limits import HttpGate
from adapters.http_server import METRICS_TYPE
from adapters.http_thread import ServerThread
from streams.metrics import Metrics

Answer = tuple[int, str, bytes]
"""Status, content type and body."""

NOT_HERE: Answer = (404, "text/plain; charset=utf-8", b"not here: /metrics, /healthz, /readyz\n")


class Endpoint(ServerThread):
    """Serves metrics, health and readiness from a separate thread.

    Args:
        answer: Returns the answer to a request for a path.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.

    Raises:
        SettingsError: The address cannot be listened on.
    """

    def __init__(self, answer: Callable[[str], Answer], host: str, port: int) -> None:
        async def served(request: Request) -> Response:
            status, kind, body = await run_in_threadpool(answer, request.scope["path"])
            return Response(body, status, media_type=kind)

        app = HttpGate(Starlette(routes=[Route("/{path:path}", served)]), log=structlog.get_logger("vedette.worker"))
        super().__init__(app, host, port, setting="`[worker] metrics_port`")


def answer_of_worker(metrics: Metrics, path: str) -> Answer:
    """Return what a worker with these metrics and this health answers."""
    health = metrics.health
    match path:
        case "/metrics":
            return 200, METRICS_TYPE, metrics.render()
        case "/healthz":
            # The watchdog ends a stuck process, so one that answers is healthy. If a control record cannot be put into
            # force, the worker keeps the previous version and reports it here.
            refused = {"refused": health.refusal} if health.refusal else {}
            return 200, "application/json", json.dumps({"status": "ok"} | refused).encode()
        case "/readyz":
            waiting = health.waiting_for or (None if health.assigned else "partitions")
            status = "degraded" if health.without_history else "waiting"
            body = {"status": status, "for": waiting} if waiting else {"status": "ready"}
            return 503 if waiting else 200, "application/json", json.dumps(body).encode()
        case _:
            return NOT_HERE
