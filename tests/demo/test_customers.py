"""Simulated customers, and pages that refuse them."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest

from demo.customers import PREFIX, SimulatedCustomers
from stack.sms import Sms
from tests.conftest import wait_for


class Refusing(ThreadingHTTPServer):
    """Answers every POST with one status."""

    status = 200
    asked = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Refusal)


class Refusal(BaseHTTPRequestHandler):
    """One refused request."""

    server: Refusing

    def do_POST(self) -> None:
        """Refuse it."""
        self.server.asked += 1
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def pages() -> Iterator[Refusing]:
    """A server that refuses all forms."""
    with Refusing() as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "invited", "said"),
    [
        (404, False, ["a customer was refused: HTTP Error 404: Not Found"]),
        (404, True, []),
        (500, True, ["a customer was refused: HTTP Error 500: Internal Server Error"]),
    ],
)
def test_a_refused_customer_is_reported(pages: Refusing, status: int, invited: bool, said: list[str]) -> None:
    """A refusal is reported, unless the person at the screen was given the link and may have used it."""
    pages.status = status
    stopping, heard = Event(), list[str]()
    invite = (lambda _link, _code: stopping.set()) if invited else None
    customers = SimulatedCustomers(lambda _account, _phone: None, invite, stopping, heard.append)
    link = f"http://127.0.0.1:{pages.server_port}/c/token"
    customers.receive(Sms("SM1", f"{PREFIX}00000000", "+14155550100", f"1234 5678 at {link} Ref X", 0))
    wait_for(lambda: pages.asked == 1)
    customers.close()
    assert heard == said
