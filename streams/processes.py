"""Several workers under one parent: one endpoint shows what all of them do, and they end together.

Each is a process of its own with its own share of the partitions, since one process computes on one core. The parent
handles no payments: it starts a worker again that ended, and passes on the request to end.
"""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from typing import Protocol

import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from adapters.http_server import METRICS_TYPE
from streams.http import NOT_HERE, Answer, Endpoint
from vedette.errors import SettingsError
from vedette.settings import Settings

_HOST = "127.0.0.1"
_ASK_S = 2.0
_LOOK_S = 0.2
_AGAIN_S = 1.0
"""Seconds after which a worker that ended is started again."""
_END_WITHIN_S = 600.0
_CANNOT_START = 2
_log = structlog.get_logger("vedette.worker")


class ChildProcess(Protocol):
    """A worker process, which ends with its parent, however the parent ends."""

    def terminate(self) -> None:
        """Ask it to end."""

    def exit_code(self, *, within_s: float) -> int | None:
        """Return the exit code, or None if it still runs after this many seconds."""


Start = Callable[[Mapping[str, str]], ChildProcess]
"""Starts a worker process with variables added to its environment."""


class WorkerProcesses(Collector):
    """Worker processes, their metrics and their readiness.

    Args:
        start: Starts a worker.
        ports: For each worker, a free port for its metrics.
        instance: The worker's name in the group, of which each process gets one of its own; empty: none.
    """

    def __init__(self, start: Start, ports: Sequence[int], instance: str) -> None:
        self._start = start
        self._ports = ports
        self._variables = [
            {"VEDETTE_WORKER__METRICS_HOST": _HOST, "VEDETTE_WORKER__METRICS_PORT": str(port)}
            | ({"VEDETTE_WORKER__INSTANCE": f"{instance}-{number}"} if instance else {})
            for number, port in enumerate(ports)
        ]
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def run(self, ending: threading.Event) -> int:
        """Keep the workers running until the event is set, or until one of them cannot start.

        Returns:
            The exit code: 0, or that of a worker that did not end well.
        """
        children = [self._start(variables) for variables in self._variables]
        refused = 0
        while not refused and not ending.wait(_LOOK_S):
            for number, child in enumerate(children):
                code = child.exit_code(within_s=0)
                if code == _CANNOT_START:
                    refused = code
                elif code is not None and not ending.wait(_AGAIN_S):
                    _log.warning("worker process ended", process=number, code=code)
                    children[number] = self._start(self._variables[number])
        for child in children:
            child.terminate()
        codes = [child.exit_code(within_s=_END_WITHIN_S) for child in children]
        return refused or next((code for code in codes if code), 0)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of all workers, labelled with the number of their process; called by the registry."""
        families: dict[str, Metric] = {}
        for number, port in enumerate(self._ports):
            _, text = _get(port, "/metrics")
            for family in text_string_to_metric_families(text):
                merged = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                for sample in family.samples:
                    merged.add_sample(sample.name, {**sample.labels, "process": str(number)}, sample.value)
        yield from families.values()

    def answer(self, path: str) -> Answer:
        """Return the answer of the endpoint to a request."""
        match path:
            case "/metrics":
                return 200, METRICS_TYPE, generate_latest(self._registry)
            case "/healthz":
                return 200, "application/json", json.dumps({"status": "ok"}).encode()
            case "/readyz":
                states = [_get(port, path) for port in self._ports]
                waiting = {
                    str(number): json.loads(text) if text else "starting"
                    for number, (status, text) in enumerate(states)
                    if status != 200
                }
                body = {"status": "waiting", "processes": waiting} if waiting else {"status": "ready"}
                return 503 if waiting else 200, "application/json", json.dumps(body).encode()
            case _:
                return NOT_HERE


def run_processes(settings: Settings, start: Start, ports: Sequence[int], ending: threading.Event) -> int:
    """Run several workers until the event is set, and return the exit code.

    Args:
        settings: The settings of the deployment.
        start: Starts a worker.
        ports: For each worker, a free port for its metrics.
        ending: Set when they are to end.

    Raises:
        SettingsError: There are more workers than partitions, or the port of the metrics is in use.
    """
    count, partitions = len(ports), settings.topics.partitions
    if count > partitions:
        raise SettingsError(
            f"{count} processes cannot share {partitions} partitions",
            remedy="start at most as many as [topics] partitions",
        )
    own = settings.worker
    workers = WorkerProcesses(start, ports, own.instance)
    endpoint = Endpoint(workers.answer, own.metrics_host, own.metrics_port)
    _log.info("worker starts", metrics=f"{endpoint.url}/metrics", processes=count)
    try:
        return workers.run(ending)
    finally:
        endpoint.close()


def _get(port: int, path: str) -> tuple[int, str]:
    """Return status and body of a worker's endpoint; status 0 while it does not answer."""
    connection = HTTPConnection(_HOST, port, timeout=_ASK_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    except (OSError, HTTPException):
        return 0, ""
    finally:
        connection.close()
