"""Metrics are served from a thread, with the limits of all servers."""

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest
import structlog
from prometheus_client import CollectorRegistry, Counter

from adapters.http_server import Readiness
from adapters.http_thread import ServerThread
from adapters.metrics_app import metrics_app
from tests.serving import received, sent_to
from vedette.errors import SettingsError


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    """Metrics on a free port."""
    registry = CollectorRegistry()
    Counter("seen", "Things seen", registry=registry).inc(3)
    app = metrics_app("Test", registry, Readiness(), structlog.get_logger("test"))
    with closing(ServerThread(app, "127.0.0.1", 0, setting="`[test] port`")) as served:
        host, _, port = served.url.removeprefix("http://").rpartition(":")
        yield host, int(port)


def test_metrics_are_served(address: tuple[str, int]) -> None:
    """To whoever asks as Prometheus does."""
    got = sent_to(address, b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 200")
    assert b"seen_total 3.0" in got


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", b"431"),
        (b"GET /" + b"a" * 5_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"414"),
        (b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n", b"413"),
        (b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}", b"415"),
        (b"DELETE /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"405"),
        (b"GET /admin HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"404"),
        (b"\x16\x03\x01\x00\xa5\x01\r\n\r\n", b"400"),
    ],
)
def test_metrics_have_the_limits_of_all_servers(address: tuple[str, int], sent: bytes, status: bytes) -> None:
    """Large heads, long paths, bodies, other methods, other paths and what is not HTTP are refused."""
    got = sent_to(address, sent)
    assert got.split(b" ")[1] == status
    assert b"x-content-type-options: nosniff" in got.lower()


def test_half_a_request_for_metrics_does_not_keep_its_connection(address: tuple[str, int]) -> None:
    """Of 60 clients that send half a request, none is still connected after the time for a head."""
    halves = [b"", b"GET /met", b"GET /metrics HTTP/1.1\r\nHost: a\r\nX-Half: "] * 20
    held = [socket.create_connection(address, timeout=20) for _ in halves]
    for connection, half in zip(held, halves, strict=True):
        connection.sendall(half)
    assert [received(connection) for connection in held] == [b""] * 60
    for connection in held:
        connection.close()


def test_a_port_in_use_is_named(address: tuple[str, int]) -> None:
    """With the setting that chooses another one."""
    with pytest.raises(SettingsError, match=rf"127\.0\.0\.1:{address[1]}: Address already in use.*\[test\] port"):
        ServerThread(metrics_app("Test", CollectorRegistry(), Readiness(), None), *address, setting="`[test] port`")
