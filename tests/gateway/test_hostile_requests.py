"""No request makes the gateway fail, and a credential that has ended opens nothing."""

from collections.abc import Iterator

import httpx2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from access.admin import create, revoke
from tests.conftest import wait_for
from tests.gateway.conftest import Bank, payment
from tests.gateway.test_api import MAY, OPEN
from tests.hostile import assert_harmless, hostile, requests_to

REFUSED = (401, 429)  # the second, since many failures come from one address


@pytest.fixture(scope="module")
def client(previews: Bank) -> Iterator[httpx2.Client]:
    """A client of the gateway of this file."""
    with httpx2.Client(base_url=previews.gateways[0].url, timeout=60) as made:
        yield made


@hostile
@given(data=st.data())
def test_no_request_is_a_failure(previews: Bank, client: httpx2.Client, data: st.DataObject) -> None:
    """With a key and without, to every route and to those of health, whatever is sent."""
    key = {"X-API-Key": previews.api_key, "Vedette-Deadline-Ms": "50"}
    sent = data.draw(requests_to([*MAY, *OPEN, "GET /healthz", "GET /openapi.json", "GET /{path}"], [key, {}]))
    # Values that a real client or server would refuse before the app sees them are for apps without a socket.
    headers = {name: value for name, value in sent.headers.items() if value or name == "Content-Type"}
    assert_harmless(sent, client.request(sent.method, sent.target, headers=headers, content=sent.body))


@hostile
@given(data=st.data())
def test_no_request_makes_previews_fail(previews: Bank, data: st.DataObject) -> None:
    """Nor the service behind the gateway, whether or not the token is right."""
    own = previews.settings.preview
    assert own.token is not None
    token = {"Authorization": f"Bearer {own.token.value}"}
    sent = data.draw(requests_to(["POST /preview", "GET /readyz", "GET /{path}"], [token, {}]))
    with httpx2.Client(base_url=f"http://{own.host}:{own.port}", timeout=60) as client:
        assert_harmless(sent, client.request(sent.method, sent.target, headers=sent.headers, content=sent.body))


def test_a_credential_that_has_ended_opens_nothing(bank: Bank) -> None:
    """Neither its key nor a token made before, on any route, once the few seconds are over that it is remembered."""
    made = create(bank.settings, "for a while", "payments", [], days=1)
    with httpx2.Client(base_url=bank.gateway().url, timeout=60) as client:
        _, id_, secret = made.api_key.split("_")
        got = client.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=(id_, secret))
        token = {"Authorization": f"Bearer {got.json()['access_token']}"}
        ways = ({"X-API-Key": made.api_key}, token)

        def status(name: str, way: dict[str, str]) -> int:
            method, _, path = name.partition(" ")
            path = path.format(transaction_id="unknown", webhook_id="we_unknown")
            body = {"content": b"{}", "headers": way | {"Content-Type": "application/json"}}
            return client.request(method, path, **body if method == "POST" else {"headers": way}).status_code  # type: ignore[arg-type]

        assert all(status(name, way) not in (401, 403) for name in MAY for way in ways)
        revoke(bank.settings, made.credential.id)
        for name in MAY:
            for way in ways:
                wait_for(lambda name=name, way=way: status(name, way) in REFUSED)  # type: ignore[misc]
        assert client.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=(id_, secret)).is_error


def test_a_stream_ends_with_its_credential(bank: Bank) -> None:
    """Long before its time is over, of which three signs of life would tell."""
    made, paid = create(bank.settings, "for a while", "payments", [], days=1), payment()
    key = {"X-API-Key": made.api_key}
    with httpx2.Client(base_url=bank.gateway().url, timeout=90, headers=key) as client:
        kind = {"Content-Type": "application/x-ndjson"}
        assert client.post("/v1/transactions", content=msgspec.json.encode(paid), headers=kind).status_code == 202
        with client.stream("GET", f"/v1/decisions/{paid.transaction_id}/events") as stream:
            assert stream.status_code == 200
            revoke(bank.settings, made.credential.id)
            assert len([line for line in stream.iter_lines() if line.startswith(":")]) < 3
