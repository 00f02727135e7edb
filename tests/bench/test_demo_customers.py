"""The demo's customers, and pages that refuse them."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest

from bench.demo.customers import PREFIX, Customers
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
        """Nothing."""


@pytest.fixture
def pages() -> Iterator[Refusing]:
    """Pages that refuse."""
    with Refusing() as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "yours", "said"),
    [
        (404, False, ["a customer was refused: HTTP Error 404: Not Found"]),
        (404, True, []),
        (500, True, ["a customer was refused: HTTP Error 500: Internal Server Error"]),
    ],
)
def test_a_refused_customer_is_told_of(pages: Refusing, status: int, yours: bool, said: list[str]) -> None:
    """A refusal is said, unless the person who watches was given the link, and so may have used it."""
    pages.status = status
    hurry, heard = Event(), list[str]()
    invite = (lambda _link, _code: hurry.set()) if yours else None
    customers = Customers(lambda _account, _phone: None, invite, hurry, heard.append)
    link = f"http://127.0.0.1:{pages.server_port}/c/token"
    customers.told(Sms("SM1", f"{PREFIX}00000000", "+14155550100", f"1234 5678 at {link} Ref X", 0))
    wait_for(lambda: pages.asked == 1)
    customers.close()
    assert heard == said
