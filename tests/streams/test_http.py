"""Where metrics, health and readiness are served."""

import json
from collections.abc import Iterator
from functools import partial
from http.client import HTTPConnection
from threading import Barrier, Thread

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from streams.health import Attempt, Step
from streams.http import Endpoint, answer_of_worker
from streams.metrics import Metrics
from tests.serving import sent_to
from vedette.errors import SettingsError


@pytest.fixture
def metrics() -> Metrics:
    """The metrics of a worker that has just started."""
    return Metrics()


@pytest.fixture
def endpoint(metrics: Metrics) -> Iterator[Endpoint]:
    """Where they are served."""
    served = Endpoint(partial(answer_of_worker, metrics), "127.0.0.1", 0)
    yield served
    served.close()


def get(endpoint: Endpoint, path: str) -> tuple[int, str, str]:
    """Return status, content type and body."""
    connection = HTTPConnection(endpoint.url.removeprefix("http://"), timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.headers["Content-Type"], response.read().decode()
    finally:
        connection.close()


def ready(endpoint: Endpoint) -> tuple[int, object]:
    """Return the answer of /readyz."""
    status, _, body = get(endpoint, "/readyz")
    return status, json.loads(body)


def test_taken_port_is_named(endpoint: Endpoint) -> None:
    """A user who starts a second worker on a machine is told which setting to change."""
    port = int(endpoint.url.rpartition(":")[2])
    with pytest.raises(SettingsError, match=rf"127\.0\.0\.1:{port}: Address already in use.*metrics_port"):
        Endpoint(partial(answer_of_worker, Metrics()), "127.0.0.1", port)


def test_metrics_are_in_prometheus_text_format(endpoint: Endpoint, metrics: Metrics) -> None:
    """A Prometheus parser reads every metric, its help and type; histograms are cumulative and add up."""
    metrics.latency.observe(np.array([0.0005, 0.004, 0.1, 100.0]))
    metrics.misplaced.labels("transactions", "no_key").inc(3)
    status, kind, body = get(endpoint, "/metrics")
    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    families = {family.name: family for family in text_string_to_metric_families(body)}
    assert all(
        family.documentation and family.type in ("counter", "gauge", "histogram") for family in families.values()
    )
    buckets = {
        sample.labels["le"]: sample.value
        for sample in families["vedette_latency_seconds"].samples
        if sample.name.endswith("_bucket")
    }
    assert (buckets["0.001"], buckets["0.004"], buckets["60"], buckets["+Inf"]) == (1, 2, 3, 4)
    values = {sample.name: sample.value for sample in families["vedette_latency_seconds"].samples}
    assert values["vedette_latency_seconds_count"] == 4
    assert values["vedette_latency_seconds_sum"] == pytest.approx(100.1045)
    misplaced = {
        (sample.labels["topic"], sample.labels["reason"]): sample.value
        for sample in families["vedette_misplaced"].samples
        if sample.name.endswith("_total")
    }
    assert {labels for labels, count in misplaced.items() if count} == {("transactions", "no_key")}
    assert misplaced["transactions", "no_key"] == 3


def test_worker_is_healthy_and_says_what_it_has_refused(endpoint: Endpoint, metrics: Metrics) -> None:
    """/healthz is 200 while the process answers; a refused control record is shown until another is in force."""
    assert get(endpoint, "/healthz") == (200, "application/json", '{"status": "ok"}')
    metrics.refuse("model x: the contract is another")
    status, _, body = get(endpoint, "/healthz")
    assert (status, json.loads(body)) == (200, {"status": "ok", "refused": "model x: the contract is another"})
    metrics.in_force_is({"model": "x@1", "policy": "default@1"})
    assert json.loads(get(endpoint, "/healthz")[2]) == {"status": "ok"}


def test_worker_is_ready_with_partitions_and_nothing_away(endpoint: Endpoint, metrics: Metrics) -> None:
    """/readyz is 503 with what is missing: partitions, Redis or the broker; the gauge agrees; otherwise it is 200."""

    def degraded() -> bool:
        return "vedette_degraded 1.0" in get(endpoint, "/metrics")[2]

    health = metrics.health
    assert ready(endpoint) == (503, {"status": "waiting", "for": "partitions"})
    health.assigned = True
    assert ready(endpoint) == (200, {"status": "ready"})
    assert not degraded()
    health.waits(Step.FINISH, Attempt.PUBLISH)
    health.waits(Step.COMPUTE, Attempt.LOAD)
    health.proceeds(Step.COMPUTE)
    assert ready(endpoint) == (503, {"status": "waiting", "for": "publish"})
    assert degraded()
    health.proceeds(Step.FINISH)
    health.without_history = True
    assert ready(endpoint) == (503, {"status": "degraded", "for": "Redis"})
    assert degraded()
    health.without_history = False
    assert ready(endpoint) == (200, {"status": "ready"})
    metrics.owned({})
    assert ready(endpoint) == (503, {"status": "waiting", "for": "partitions"})


@pytest.mark.parametrize("path", ["/", "/metrics/", "/healthz%20", "/../etc/passwd", "/admin"])
def test_nothing_else_is_served(endpoint: Endpoint, path: str) -> None:
    """Any other path is 404, with the list of paths."""
    status, kind, body = get(endpoint, path)
    assert (status, kind) == (404, "text/plain; charset=utf-8")
    assert "/metrics, /healthz, /readyz" in body


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"HEAD /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"200"),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", b"431"),
        (b"GET /" + b"a" * 5_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"414"),
        (b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n", b"413"),
        (b"DELETE /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"405"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /metr", b""),
    ],
)
def test_the_worker_has_the_limits_of_all_servers(endpoint: Endpoint, sent: bytes, status: bytes) -> None:
    """Large, long, strange and unfinished requests are refused or end, with the headers of every answer, and no 5xx."""
    host, _, port = endpoint.url.removeprefix("http://").rpartition(":")
    got = sent_to((host, int(port)), sent)
    assert got[9:12] == status
    assert not got or b"x-content-type-options: nosniff" in got.lower()


def test_requests_are_answered_side_by_side(endpoint: Endpoint) -> None:
    """A client that has connected and says nothing does not keep others waiting."""
    silent = HTTPConnection(endpoint.url.removeprefix("http://"), timeout=10)
    silent.connect()
    start = Barrier(8)
    answers: list[int] = []

    def ask() -> None:
        start.wait(30)
        answers.append(get(endpoint, "/healthz")[0])

    threads = [Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    silent.close()
    assert answers == [200] * 8
