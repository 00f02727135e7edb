"""The clients of the gateway, with a server on this machine that gives scripted answers."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.serving import listening, served
from vedette.client import Answer, AsyncGatewayClient, GatewayClient, Problem, ProblemError
from vedette.errors import UnavailableError
from vedette.events import Transaction

PAID = Transaction(
    transaction_id="t1", account_id="a1", amount=1, currency="EUR", event_time=1_767_520_800_000, merchant_id="m1"
)
ANSWER = Answer(
    transaction_id="t1", action="approve", score=0.1, reasons=[], rules=[], model="m@1", policy="p@1", degraded=False,
    provisional=False, final=True, latency_ms=1.0,
)  # fmt: skip
BUSY = Problem(type="urn:vedette:problem:starting", title="The gateway is starting", status=503, detail="wait")


@dataclass
class Told:
    """A server's next answers, and the requests it received.

    Attributes:
        url: Its address.
        answers: Status, body and headers of the next answers; the last one stays.
        got: Method, path as it came, headers and body of each request.
    """

    url: str
    answers: list[tuple[int, Any, dict[str, str]]] = field(default_factory=list)
    got: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def told() -> Iterator[Told]:
    """A server."""
    with listening() as (listener, url):
        made = Told(url)

        async def answer(request: Request) -> Response:
            raw: bytes = request.scope["raw_path"]
            made.got.append((request.method, raw.decode(), dict(request.headers), await request.body()))
            status, content, headers = made.answers.pop(0) if len(made.answers) > 1 else made.answers[0]
            body = content if isinstance(content, bytes) else msgspec.json.encode(content)
            return Response(body, status, headers)

        routes = [Route("/{rest:path}", answer, methods=["GET", "POST"])]
        with served(Starlette(routes=routes), listener):
            yield made


Ask = Callable[..., Any]


@pytest.fixture(params=["threads", "coroutines"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Calls a method of a client of each kind in turn: `ask(url, method, *arguments, patience_s=…)`."""

    def by_thread(url: str, method: str, *arguments: Any, **options: Any) -> Any:
        with GatewayClient(url, "key", **options) as client:
            return getattr(client, method)(*arguments)

    def by_coroutine(url: str, method: str, *arguments: Any, **options: Any) -> Any:
        async def call() -> Any:
            async with AsyncGatewayClient(url, "key", **options) as client:
                return await getattr(client, method)(*arguments)

        return asyncio.run(call())

    return by_thread if request.param == "threads" else by_coroutine


def test_a_refused_request_is_sent_again_byte_for_byte(ask: Ask, told: Told) -> None:
    """It is sent after 503 and 429, under the same id, until it is answered."""
    told.answers = [(503, BUSY, {}), (429, b"<html>", {"Retry-After": "0"}), (200, ANSWER, {})]
    assert ask(told.url, "decide", PAID) == ANSWER
    assert len(told.got) == 3
    assert len({(path, body) for _, path, _, body in told.got}) == 1
    assert told.got[0][2]["x-api-key"] == "key"
    assert msgspec.json.decode(told.got[0][3], type=Transaction) == PAID


def test_what_would_be_refused_again_is_not_sent_again(ask: Ask, told: Told) -> None:
    """The problem says why."""
    told.answers = [(409, msgspec.structs.replace(BUSY, status=409, field="amount"), {})]
    with pytest.raises(ProblemError) as refused:
        ask(told.url, "decide", PAID)
    assert (refused.value.problem.status, refused.value.problem.field) == (409, "amount")
    assert len(told.got) == 1


def test_patience_ends(ask: Ask, told: Told) -> None:
    """It also ends when the gateway asks for more time than is left; an invalid Retry-After does no harm."""
    told.answers = [(503, BUSY, {"Retry-After": "30"})]
    with pytest.raises(ProblemError, match="starting"):
        ask(told.url, "decide", PAID, patience_s=1.0)
    assert len(told.got) == 1
    told.answers = [(503, BUSY, {"Retry-After": "soon"})]
    with pytest.raises(ProblemError, match="starting"):
        ask(told.url, "decide", PAID, patience_s=0.2)


def test_a_gateway_that_does_not_answer_is_named(ask: Ask) -> None:
    """The error contains its address."""
    with listening() as (_, url):
        pass
    with pytest.raises(UnavailableError, match=url):
        ask(url, "decide", PAID, patience_s=0.1)


@pytest.mark.parametrize("id_", ["t-1", "a/b", "..", "ü %2F?#", "."])
def test_an_id_arrives_as_it_is(ask: Ask, told: Told, id_: str) -> None:
    """This holds for any characters."""
    told.answers = [(200, ANSWER, {})]
    ask(told.url, "look_up", id_)
    method, path, *_ = told.got[0]
    assert method == "GET"
    assert unquote(path.removeprefix("/v1/decisions/")) == id_


def test_events_go_out_one_a_line(ask: Ask, told: Told) -> None:
    """Each result comes back."""
    told.answers = [(202, b'{"line":1,"status":202,"transaction_id":"t1"}\n', {})]
    (result,) = ask(told.url, "submit", [PAID])
    assert (result.line, result.status) == (1, 202)
    assert told.got[0][2]["content-type"] == "application/x-ndjson"
    assert told.got[0][3].count(b"\n") == 1


def test_the_client_needs_nothing_of_the_server() -> None:
    """Importing it brings neither the gateway nor the libraries of servers, and `vedette` does not bring the client."""
    script = (
        "import sys, vedette; assert 'aiohttp' not in sys.modules; import vedette.client; "
        "print(*{'gateway', 'adapters', 'fastapi', 'sqlalchemy', 'confluent_kafka', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
