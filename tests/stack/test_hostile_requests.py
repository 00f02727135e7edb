"""No request makes the local schema registry or the local SMS server fail."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from stack.schema_registry import make_app
from stack.sms import SmsSink
from tests.hostile import assert_harmless, hostile, requests_to
from tests.serving import sent_to

ROUTES = (
    "GET /subjects", "POST /subjects/{subject}/versions", "POST /subjects/{subject}",
    "GET /subjects/{subject}/versions", "GET /subjects/{subject}/versions/{version}",
    "GET /schemas/ids/{number}", "GET /config",
    "PUT /config/{subject}",
    "POST /compatibility/subjects/{subject}/versions/{version}",
)  # fmt: skip


@pytest.fixture(scope="module")
def registry() -> Iterator[TestClient]:
    """A registry with one schema."""
    with TestClient(make_app()) as client:
        client.post("/subjects/known/versions", json={"schema": '{"type": "string"}'})
        yield client


@hostile
@given(sent=requests_to(ROUTES, known={"subject": "known", "version": "1", "number": "1"}))
def test_no_request_makes_the_registry_fail(registry: TestClient, sent: st.DataObject) -> None:
    """A schema that is none, versions that are no numbers, and bodies of every size and kind are refused."""
    got = registry.request(sent.method, sent.target, headers=sent.headers, content=sent.body)  # type: ignore[attr-defined]
    assert_harmless(sent, got)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"POST /x HTTP/1.1\r\nContent-Length: 100000000\r\n\r\n", b"413"),
        (b"POST /x HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"413"),
        (b"POST /x HTTP/1.1\r\nContent-Length: a\r\n\r\n", b"413"),
        (b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"413"),
        (b"POST /x HTTP/1.1\r\nContent-Length: 1\r\nConnection: close\r\n\r\n\xff", b"404"),
        (b"DELETE /x HTTP/1.1\r\nConnection: close\r\n\r\n", b"405"),
    ],
)
def test_what_is_no_message_is_refused(sent: bytes, status: bytes) -> None:
    """By the SMS server: lengths that are none or too large, and other methods."""
    with SmsSink() as sink:
        assert sent_to((sink.host, sink.port), sent)[9:12] == status
