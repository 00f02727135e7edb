"""What every HTTP server of the project refuses and limits, tried on sockets."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import pytest
import structlog
from fastapi import FastAPI, Form, HTTPException, Request, Response
from fastapi.testclient import TestClient
from pydantic import BaseModel
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect
from structlog.testing import capture_logs

from adapters.event_streams import EventStreams
from adapters.http_app import protected_app
from adapters.http_limits import HttpGate, HttpLimits
from adapters.http_protocol import ConnectionLimits
from adapters.http_server import Readiness, keep_running
from tests.conftest import wait_for
from tests.serving import listening, received, served
from vedette.errors import UnavailableError

SITE = "https://pay.bank.example"
LIMIT = 64 * 1024


class Guess(BaseModel, extra="forbid"):
    """A body that contains a secret."""

    code: int


@pytest.fixture
def calls() -> list[str]:
    """The requests that reached a route."""
    return []


@pytest.fixture
def app(calls: list[str]) -> FastAPI:
    """An app with a route of each kind."""
    limits = HttpLimits(body_s=0.3, larger={"/large": 2 * LIMIT})
    made = protected_app(title="Test", public_url=SITE, limits=limits)

    @made.post("/guess")
    @made.post("/large")
    def guess(value: Guess) -> dict[str, int]:
        calls.append("guess")
        return {"code": value.code}

    @made.post("/form")
    def form(field: str = Form("")) -> dict[str, str]:
        calls.append("form")
        return {"field": field}

    @made.get("/broken")
    def broken(secret: str = "") -> None:
        raise RuntimeError(f"what was sent: {secret}")

    return made


@pytest.fixture
def client(app: FastAPI) -> TestClient:
    """A client of the app."""
    return TestClient(app, base_url=SITE, follow_redirects=False)


@pytest.fixture
def address(app: FastAPI) -> Iterator[tuple[str, int]]:
    """The app on a socket, with short times and few connections."""
    with listening() as (listener, _), served(app, listener, ConnectionLimits(head_s=0.3, write_s=0.3, connections=20)):
        yield listener.getsockname()


@contextmanager
def connected(address: tuple[str, int]) -> Iterator[socket.socket]:
    """A connection to the server."""
    with socket.create_connection(address, timeout=20) as connection:
        yield connection


@pytest.mark.parametrize("size", [LIMIT - 20, LIMIT + 20, 3 * LIMIT, 31_000_000])
@pytest.mark.parametrize("announced", [True, False])
def test_a_body_has_a_limit(address: tuple[str, int], calls: list[str], size: int, announced: bool) -> None:
    """A body above the limit gets 413, whether or not its length is announced, and reaches no route."""
    body = b'{"code":' + b" " * (size - 10) + b"1}"
    parts = [body[start : start + 65_536] for start in range(0, size, 65_536)]
    url = f"http://{address[0]}:{address[1]}/guess"
    kind = {"Content-Type": "application/json"}
    try:
        got = httpx2.post(url, content=body if announced else iter(parts), headers=kind, timeout=20)
    except httpx2.TransportError:  # far beyond the limit the connection is closed while the client still sends
        assert size > 2 * LIMIT
        assert calls == []
        return
    assert got.status_code == (200 if size < LIMIT else 413)
    assert bool(calls) == (size < LIMIT)
    assert got.headers["x-content-type-options"] == "nosniff"


def test_large_bodies_share_a_bound() -> None:
    """Bodies above the usual size share a memory limit; one more gets 503, and is accepted later."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Response("taken")(scope, receive, send)

    limits = HttpLimits(body_bytes=10, larger={"/large": 100}, large_bytes=250)
    gate = HttpGate(app, limits=limits)

    async def post(path: str, parts: asyncio.Queue[bytes]) -> int:
        status: list[int] = []

        async def receive() -> Message:
            part = await parts.get()
            return {"type": "http.request", "body": part, "more_body": bool(part)}

        async def send(message: Message) -> None:
            status.append(message.get("status", 0))

        headers = [(b"content-type", b"application/json")]
        await gate(
            {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}, receive, send
        )
        return status[0]

    def sent(*parts: bytes) -> asyncio.Queue[bytes]:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        for part in parts:
            queue.put_nowait(part)
        return queue

    async def attack() -> None:
        halves = [sent(b" " * 50) for _ in range(2)]
        held = [asyncio.create_task(post("/large", half)) for half in halves]
        await asyncio.sleep(0)
        assert await post("/large", sent(b" " * 50, b"")) == 503
        assert await post("/large", sent(b" " * 5, b"")) == 200
        assert await post("/small", sent(b" " * 5, b"")) == 200
        assert await post("/small", sent(b" " * 50, b"")) == 413
        for half in halves:
            half.put_nowait(b"")
        assert await asyncio.gather(*held) == [200, 200]
        assert await post("/large", sent(b" " * 50, b"")) == 200

    asyncio.run(attack())


def test_a_route_may_take_more(client: TestClient) -> None:
    """A larger body is accepted on the paths that allow it, and nowhere else."""
    body = b" " * LIMIT + b'{"code":1}'
    kind = {"Content-Type": "application/json"}
    assert client.post("/large", content=body, headers=kind).status_code == 200
    assert client.post("/guess", content=body, headers=kind).status_code == 413


def test_an_announced_body_that_is_too_large_is_not_asked_for(address: tuple[str, int]) -> None:
    """A client that asks before it sends (Expect: 100-continue) is refused without having sent anything."""
    with connected(address) as connection:
        connection.sendall(
            b"POST /guess HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100000000\r\nExpect: 100-continue\r\n\r\n"
        )
        assert received(connection).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /gue",
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Half: ",
        b"POST /guess HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{",
        b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfield",
    ],
)
def test_half_a_request_does_not_keep_its_connection(address: tuple[str, int], sent: bytes) -> None:
    """Whichever part of a request has arrived, the connection is closed when the rest does not follow."""
    with connected(address) as connection:
        connection.sendall(sent)
        assert received(connection)[:12] in (b"", b"HTTP/1.1 408")


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Content-Length: +5",
        b"Content-Length: 5, 5",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding : chunked",
        b"X: a\r\n Transfer-Encoding: chunked",
        b"X: a\nTransfer-Encoding: chunked",
        b"X: a\rTransfer-Encoding: chunked",
        b"Host: b",
    ],
)
def test_a_head_that_two_servers_could_read_differently_is_refused(address: tuple[str, int], head: bytes) -> None:
    """What follows such a body is not treated as another request."""
    with connected(address) as connection:
        connection.sendall(
            b"POST /form HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n\r\n0\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        got = received(connection)
    assert got.startswith(b"HTTP/1.1 400")
    assert got.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("sent", [b"GET /nowhere HTTP/1.1\r\n\r\n", b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"])
def test_a_request_for_no_host_of_ours_is_refused(address: tuple[str, int], sent: bytes) -> None:
    """HTTP/1.1 names its host, and nobody is connected to another one."""
    with connected(address) as connection:
        connection.sendall(sent)
        assert received(connection).startswith(b"HTTP/1.1 400")


def test_an_upgrade_is_answered_without_one(address: tuple[str, int]) -> None:
    """The answer is that of HTTP/1.1, and what comes afterwards is not read."""
    with connected(address) as connection:
        connection.sendall(
            b"GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n"
            b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        got = received(connection)
    assert got.startswith(b"HTTP/1.1 404")
    assert got.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    ("begun", "status"),
    [
        (b"GET /", b"431"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"431"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", b"431"),
        (b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;", b""),
        (b"POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ", b""),
    ],
)
def test_a_head_or_trailer_without_end_is_not_kept(app: FastAPI, begun: bytes, status: bytes) -> None:
    """The connection is closed once too much has come, long before the time for a head or a body is over."""
    more = b"x: y\r\n" if begun.endswith(b"a\r\n") else b"a"
    patient = ConnectionLimits(head_s=60.0)
    with listening() as (listener, _), served(app, listener, patient), connected(listener.getsockname()) as connection:
        connection.sendall(begun)
        sent = 0
        try:
            while sent < 64_000_000:
                connection.sendall(more * 10_000)
                sent += 10_000 * len(more)
        except OSError:
            pass
        assert sent < 64_000_000
        assert received(connection).split(b" ")[1:2] in ([status], [])  # unread bytes may reset it before the answer


def test_a_trailer_is_no_header(app: FastAPI, address: tuple[str, int]) -> None:
    """A field behind the body says nothing of the request: what a proxy has checked stays as it was."""

    @app.post("/seen")
    async def seen(request: Request) -> list[str]:
        await request.body()
        return sorted(request.headers)

    with connected(address) as connection:
        connection.sendall(
            b"POST /seen HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
            b"Connection: close\r\n\r\n2\r\n{}\r\n0\r\nX-Forwarded-For: 192.0.2.1\r\nX-API-Key: k\r\n\r\n"
        )
        got = received(connection)
    assert json.loads(got.partition(b"\r\n\r\n")[2]) == ["connection", "content-type", "host", "transfer-encoding"]


def test_so_many_requests_wait_on_a_connection(address: tuple[str, int]) -> None:
    """Requests that are sent before the answers come are answered in order; too many of them end the connection."""
    request = b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n"
    with connected(address) as connection:
        connection.sendall(request * 50 + b"GET /broken HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        statuses = [part.split(b" ")[1] for part in received(connection).split(b"HTTP/1.1")[1:]]
    assert statuses == [b"404"] * 50 + [b"500"]
    with connected(address) as connection:
        connection.sendall(request * 1000)
        assert received(connection).count(b"HTTP/1.1") < 1000


def test_nonsense_behind_a_request_is_not_its_answer(address: tuple[str, int]) -> None:
    """A client never takes the refusal of what it sent second for the answer to the first."""
    with connected(address) as connection:
        connection.sendall(b"POST /form HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\nnonsense\r\n\r\n")
        assert not received(connection).startswith(b"HTTP/1.1 400")


def test_a_further_request_is_timed_too(address: tuple[str, int]) -> None:
    """The time limit also applies to the second request on a connection."""
    with connected(address) as connection:
        connection.sendall(b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\nGET /now")
        assert received(connection).count(b"HTTP/1.1") == 1


def test_an_answer_that_nobody_reads_does_not_keep_its_connection(app: FastAPI) -> None:
    """The connection of a client that keeps sending requests without reading responses is closed."""

    @app.get("/much")
    def much() -> str:
        return "x" * 1_000_000

    with (
        listening() as (listener, _),
        served(app, listener, ConnectionLimits(write_s=0.3)) as server,
        socket.socket() as connection,
    ):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(listener.getsockname())
        connection.sendall(b"GET /much HTTP/1.1\r\nHost: a\r\n\r\n" * 20)
        wait_for(lambda: len(server.server_state.connections) > 0)
        wait_for(lambda: len(server.server_state.connections) == 0)


def test_silent_connections_make_room(address: tuple[str, int]) -> None:
    """When all connections are held by clients that send nothing, a client with a request is still answered."""
    held = [socket.create_connection(address) for _ in range(60)]
    with connected(address) as connection:
        connection.sendall(b"GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert received(connection).startswith(b"HTTP/1.1 404")
    for each in held:
        each.close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", b"431"),
        (b"GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"404"),
        (b"GET /broken HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"500"),
    ],
)
def test_every_answer_carries_the_security_headers(address: tuple[str, int], sent: bytes, status: bytes) -> None:
    """Invalid, oversized, unknown and failing requests are answered with them as well."""
    with connected(address) as connection:
        connection.sendall(sent)
        got = received(connection)
    assert got.split(b" ")[1] == status
    for header in (
        b"x-content-type-options: nosniff",
        b"x-frame-options: DENY",
        b"content-security-policy: default-src",
    ):
        assert header.lower() in got.lower()


def test_https_is_asked_for_where_it_is_used(client: TestClient) -> None:
    """A server that is reached by HTTPS tells browsers so with every status."""
    for path in ("/broken", "/nowhere", "/guess"):
        assert "max-age" in client.get(path).headers["strict-transport-security"]


def test_a_failure_repeats_nothing(client: TestClient) -> None:
    """When a route fails, neither the answer nor the log repeats what was sent; the log says where it failed."""
    with capture_logs() as lines:
        got = client.get("/broken?secret=483920")
    assert (got.status_code, got.json()) == (500, {"detail": "internal error"})
    assert "483920" not in json.dumps(lines)
    assert any("test_http_server" in frame for frame in lines[0]["where"])


@pytest.mark.parametrize(
    "body",
    [
        b'{"code":"483920 a"}', b'{"code":1,"483920":2}', b'{"code":"\\ud800"}', b'{"code":NaN}', b'{"code":1e999}',
        b"[" * 30_000, b'{"a":' * 10_000, b"\xff\xfe", b"\x00", b'{"code":' + b"9" * 5000 + b"}",
    ],
)  # fmt: skip
def test_what_is_not_valid_is_refused_without_its_values(client: TestClient, body: bytes) -> None:
    """Odd, nested and broken JSON is the caller's error, never a failure, and no value is repeated."""
    got = client.post("/guess", content=body, headers={"Content-Type": "application/json"})
    assert got.status_code in (400, 422)
    assert "483920" not in got.text


def test_multipart_is_not_parsed(client: TestClient, calls: list[str]) -> None:
    """No route takes multipart, so none is parsed, and no file is written."""
    assert client.post("/form", files={"field": b"x" * 1000}).status_code == 415
    assert client.post("/form", data={"field": "x"}).json() == {"field": "x"}
    assert calls == ["form"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": SITE}, 200),
        ({"Origin": SITE, "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "null", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "https://pay.bank.example.evil.example"}, 403),
        ({"Origin": "http://pay.bank.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "https://other.bank.example"}, 403),
    ],
)
def test_another_sites_page_may_not_post(client: TestClient, headers: dict[str, str], status: int) -> None:
    """A form from another origin is refused, as the browser reports it; programs report no origin and may post."""
    assert client.post("/form", data={"field": "x"}, headers=headers).status_code == status


def test_no_redirect_adds_a_slash(client: TestClient) -> None:
    """An address with one slash too many is not found, rather than redirected to the Host that the request names."""
    got = client.get("/broken/", headers={"Host": "evil.example"})
    assert (got.status_code, "location" in got.headers) == (404, False)


def test_a_session_has_so_many_streams() -> None:
    """One more stream of a session ends its oldest; one more of another session is refused when all are in use."""
    streams = EventStreams(of_session=2, in_all=3, settled_s=0)
    app = protected_app(title="Test", public_url="")
    read = threading.Event()

    @app.get("/{session}")
    def follow(session: str) -> object:
        def part() -> tuple[str, str]:
            read.set()
            return "1", "x"

        return streams.follow(session, part, "")

    with listening() as (listener, url), served(app, listener):

        async def several() -> None:
            async with httpx2.AsyncClient() as client:
                first, second, third, other = (
                    client.stream("GET", f"{url}/{session}") for session in ("a", "a", "a", "b")
                )
                async with first as oldest, second, third, other:
                    async for _ in oldest.aiter_lines():
                        pass  # until the server ends it
                    assert len(streams) == 3
                    assert (await client.get(f"{url}/c")).status_code == 503

        asyncio.run(several())
        assert read.is_set()
        wait_for(lambda: len(streams) == 0)


def test_a_session_cannot_open_one_stream_after_another() -> None:
    """A stream that has just begun is not ended: the next one of its session is refused."""
    streams = EventStreams(of_session=1, in_all=3)
    streams.follow("a", lambda: None, "")
    with pytest.raises(HTTPException) as refused:
        streams.follow("a", lambda: None, "")
    assert refused.value.status_code == 503
    streams.follow("b", lambda: None, "")


def test_a_loop_that_fails_is_started_again() -> None:
    """A loop that fails runs again; readiness gives our own reason, or only the type of any other error."""
    stop, readiness, runs, seen = threading.Event(), Readiness(), [], []

    def loop(stopping: threading.Event) -> None:
        runs.append(1)
        seen.append(readiness.missing())
        if len(runs) == 1:
            raise UnavailableError("no broker")
        if len(runs) == 2:
            raise RuntimeError("a secret")
        readiness.works("reader")
        stopping.set()

    keep_running("reader", loop, stop, readiness, structlog.get_logger(), first_pause_s=0)
    assert seen == [{}, {"reader": "no broker"}, {"reader": "RuntimeError"}]
    assert readiness.missing() == {}


def test_a_websocket_is_refused(client: TestClient) -> None:
    """No server accepts WebSockets."""
    with pytest.raises(WebSocketDisconnect) as refused, client.websocket_connect("/guess"):
        pass
    assert refused.value.code == 1008


def test_the_gate_lets_lifespan_through(app: FastAPI) -> None:
    """Start-up and shutdown of an app behind the gate take place."""
    with TestClient(HttpGate(app)) as client:
        assert client.get("/nowhere").status_code == 404
