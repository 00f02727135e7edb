"""The open load of the gateway's benchmark, against a server of the project."""

import itertools

from fastapi import FastAPI, Request, Response

from adapters.http_app import protected_app
from bench import http_load
from tests.serving import listening, served

REQUEST = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 6\r\n\r\n%06d"


def app() -> FastAPI:
    """Echoes numbers; every tenth is refused, and 7 breaks its connection."""
    made = protected_app(title="Test", public_url="")

    @made.post("/echo")
    async def echo(request: Request) -> Response:
        number = int(await request.body())
        if number == 7:
            return Response("late", headers={"Content-Length": "1000"})  # the connection ends in the middle of it
        return Response(str(number), 503 if number % 10 == 0 else 200)

    return made


def test_every_request_has_one_outcome() -> None:
    """Each is sent once and ends as an answer or without one, and its time counts from when it was due."""
    outcomes: list[tuple[int, bytes]] = []
    seconds: list[int] = []

    def take(status: int, body: bytes, latency_ms: float) -> None:
        assert latency_ms >= 0
        outcomes.append((status, body))

    with listening() as (listener, _), served(app(), listener):
        host, port = listener.getsockname()
        numbered = (REQUEST % number for number in itertools.count())
        sent = http_load.run(host, port, numbered, 300, 1.0, take, lambda: seconds.append(1))
    assert sent == 300
    assert sorted(status for status, _ in outcomes) == [0] + [200] * 269 + [503] * 30
    bodies = sorted(int(body) for status, body in outcomes if status)
    assert bodies == [number for number in range(300) if number != 7]


def test_a_server_that_is_away_answers_nothing() -> None:
    """Requests that find nobody are outcomes too."""
    with listening() as (listener, _):
        host, port = listener.getsockname()
    statuses: list[int] = []
    numbered = (REQUEST % number for number in itertools.count())
    assert http_load.run(host, port, numbered, 100, 0.1, lambda status, *_: statuses.append(status), lambda: None) == 10
    assert statuses == [0] * 10
