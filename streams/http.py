"""The worker's HTTP endpoint: /metrics for Prometheus, /healthz and /readyz for the platform."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from streams.metrics import Metrics
from vedette.errors import SettingsError


class Endpoint:
    """Serves a worker's metrics, health and readiness from a thread of its own.

    Args:
        metrics: Of the worker.
        host: Address to listen on.
        port: 0 takes a free one.

    Raises:
        SettingsError: Nobody can listen there.
    """

    def __init__(self, metrics: Metrics, host: str, port: int) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, kind, body = _answer(self.path, metrics)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass  # a scrape every few seconds is no news

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except OSError as error:
            raise SettingsError(
                f"metrics cannot be served on {host}:{port}: {error.strerror}",
                remedy="each worker needs a `[worker] metrics_port` of its own; 0 takes a free one",
            ) from error
        self.url = f"http://{host}:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, name="http", daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


def _answer(path: str, metrics: Metrics) -> tuple[int, str, bytes]:
    match path:
        case "/metrics":
            return 200, "text/plain; version=0.0.4; charset=utf-8", metrics.render()
        case "/healthz":
            # The watchdog ends a process that is stuck, so one that answers is healthy.
            # It works on with what was in force when it cannot obey a control record, but says so.
            health = {"status": "ok"} | ({"refused": metrics.refusal} if metrics.refusal else {})
            return 200, "application/json", json.dumps(health).encode()
        case "/readyz":
            waiting = metrics.waiting_for or (None if metrics.assigned else "partitions")
            status = "degraded" if metrics.deciding_without_history else "waiting"
            body = {"status": status, "for": waiting} if waiting else {"status": "ready"}
            return 503 if waiting else 200, "application/json", json.dumps(body).encode()
        case _:
            return 404, "text/plain; charset=utf-8", b"not here: /metrics, /healthz, /readyz\n"
