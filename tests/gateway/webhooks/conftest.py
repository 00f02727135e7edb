"""What tests of webhooks share: endpoints in a database, and a receiver on this machine."""

import base64
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pytest
from sqlalchemy import Engine
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from access.keyring import Keyring, new_key
from gateway.webhooks.endpoints import Endpoints
from tests.serving import listening, served

NOW = 1_767_520_800_000


class SetClock:
    """A clock that stands until it is set."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def now_ms(self) -> int:
        """Return the time."""
        return self.now


class Recorded:
    """An audit log in memory."""

    def __init__(self) -> None:
        self.records: list[tuple[str, str, dict[str, str], str]] = []

    def record(self, event: str, subject: str, details: Mapping[str, str], *, actor: str = "") -> None:
        """Keep a record."""
        self.records.append((event, subject, dict(details), actor))


@dataclass
class Receiver:
    """A real HTTP server that keeps what it gets.

    Attributes:
        url: Its address.
        answers: Status of the next answers; 200 when there are none left.
        got: Headers and body of each request.
    """

    url: str
    answers: list[int] = field(default_factory=list)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0

    def answer(self, headers: Mapping[str, str], body: bytes) -> Response:
        """Keep a request, and answer."""
        time.sleep(self.delay_s)
        self.got.append((dict(headers), body))
        return Response(status_code=self.answers.pop(0) if self.answers else 200, headers=self.headers)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of webhooks on this machine."""
    with listening() as (listener, url):
        made = Receiver(f"{url}/hooks")

        async def take(request: Request) -> Response:
            return made.answer(request.headers, await request.body())

        with served(Starlette(routes=[Route("/hooks", take, methods=["POST"])]), listener):
            yield made


@pytest.fixture
def keyring() -> Keyring:
    """A keyring with one key."""
    return Keyring(new_key("k1", os.urandom))


@pytest.fixture
def clock() -> SetClock:
    """A clock that the test sets."""
    return SetClock()


@pytest.fixture
def audit() -> Recorded:
    """An audit log in memory."""
    return Recorded()


@pytest.fixture
def endpoints(engine: Engine, keyring: Keyring, clock: SetClock, audit: Recorded) -> Endpoints:
    """The endpoints of a database of each kind in turn; private addresses are allowed."""
    return Endpoints(engine, keyring, clock, os.urandom, audit, allow_private=True)


def key_of(secret: str) -> bytes:
    """Return the bytes of a secret."""
    return base64.b64decode(secret.removeprefix("whsec_"))
