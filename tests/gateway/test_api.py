"""The API against its own description, who may use it, and what it refuses before a route runs."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from access.admin import create
from access.roles import Role
from tests.gateway.conftest import Bank, payment

CHECKS = [not_a_server_error, response_schema_conformance, content_type_conformance, status_code_conformance]
PAYMENTS, READERS = {"payments"}, {"payments", "analyst", "auditor"}
MAY = {
    "POST /v1/decisions": PAYMENTS,
    "POST /v1/decisions:batch": PAYMENTS,
    "POST /v1/decisions:preview": PAYMENTS,
    "GET /v1/decisions/{transaction_id}": READERS,
    "GET /v1/decisions/{transaction_id}/events": READERS,
    "POST /v1/transactions": PAYMENTS,
    "POST /v1/labels": PAYMENTS,
    "POST /v1/webhooks": PAYMENTS,
    "GET /v1/webhooks": PAYMENTS,
    "POST /v1/webhooks/{webhook_id}/pause": PAYMENTS,
    "POST /v1/webhooks/{webhook_id}/resume": PAYMENTS,
    "DELETE /v1/webhooks/{webhook_id}": PAYMENTS,
    "GET /v1/webhooks/{webhook_id}/deliveries": PAYMENTS,
    "POST /v1/webhooks/{webhook_id}/replay": PAYMENTS,
}
OPEN = {"POST /oauth/token"}


@schemathesis.serializer("application/x-ndjson")
def _ndjson(_context: Any, value: Any) -> bytes:
    return value.encode("utf-8", "replace") if isinstance(value, str) else json.dumps(value).encode()


@pytest.fixture
def client(open_bank: Bank) -> Iterator[httpx2.Client]:
    """A client with the key of a payment system."""
    headers = {"X-API-Key": open_bank.api_key, "Content-Type": "application/json"}
    with httpx2.Client(base_url=open_bank.gateways[0].url, headers=headers, timeout=60) as made:
        yield made


def described(client: httpx2.Client) -> dict[str, Any]:
    """The API's description."""
    whole: dict[str, Any] = client.get("/openapi.json").json()
    return whole


def operations(client: httpx2.Client) -> dict[str, dict[str, Any]]:
    """Return its operations by method and path."""
    return {
        f"{method.upper()} {path.replace(':path}', '}')}": operation
        for path, methods in described(client)["paths"].items()
        for method, operation in methods.items()
    }


def test_every_route_says_who_may(client: httpx2.Client) -> None:
    """A route without a line above, or a line without a route, fails."""
    assert set(operations(client)) == {*MAY, *OPEN}


@pytest.mark.parametrize("role", [*Role, "nobody"])
def test_the_api_lets_in_who_may(open_bank: Bank, client: httpx2.Client, role: str) -> None:
    """A role with permission passes the guard; others get 403, and requests without a key 401, as problem documents."""
    if role == "nobody":
        del client.headers["X-API-Key"]
    else:
        client.headers["X-API-Key"] = create(open_bank.settings, "x", role, [], days=1).api_key
    for name, may in MAY.items():
        method, _, path = name.partition(" ")
        answer = client.request(
            method,
            path.format(transaction_id="unknown", webhook_id="we_unknown"),
            content=b"{}" if method == "POST" else None,
        )  # fmt: skip
        if role in may:
            assert answer.status_code in (200, 202, 404, 422), name
        else:
            assert answer.status_code == (401 if role == "nobody" else 403), name
            assert answer.headers["content-type"] == "application/problem+json"


def test_a_token_opens_the_same_routes(open_bank: Bank, client: httpx2.Client) -> None:
    """Id and secret are exchanged for a token, which the gateway takes in place of the key."""
    _, id_, secret = open_bank.api_key.split("_")
    form = {"grant_type": "client_credentials", "scope": "decisions:read"}
    answer = httpx2.post(f"{client.base_url}/oauth/token", data=form, auth=(id_, secret))
    bearer = {"Authorization": f"Bearer {answer.json()['access_token']}", "Content-Type": "application/json"}
    assert httpx2.get(f"{client.base_url}/v1/decisions/unknown", headers=bearer).status_code == 404
    assert httpx2.post(f"{client.base_url}/v1/decisions", headers=bearer, content=b"{}").status_code == 403


@pytest.mark.usefixtures("previews")
def test_every_example_is_taken(client: httpx2.Client) -> None:
    """The examples of the description are accepted unchanged."""
    hook = client.post("/v1/webhooks", content=b'{"url": "https://bank.example/"}').json()["endpoint"]["id"]
    taken = 0
    for name, operation in operations(client).items():
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
            for example in content.get("examples", {}).values():
                path = name.partition(" ")[2].replace("{webhook_id}", hook)
                value = example["value"]
                body = value.encode() if isinstance(value, str) else json.dumps(value).encode()
                answer = client.post(path, content=body, headers={"Content-Type": media_type})
                assert answer.status_code in (200, 201, 202), (name, answer.text)
                assert '"problem"' not in answer.text, (name, answer.text)
                taken += 1
    assert taken == 8


def test_answers_are_as_described(open_bank: Bank, client: httpx2.Client) -> None:
    """Whatever is sent, every answer has a described status, type and form."""
    api = schemathesis.openapi.from_dict(described(client))
    api.config.update(base_url=str(client.base_url))
    found = [operation.ok() for operation in api.get_all_operations()]
    assert len(found) == len(MAY) + len(OPEN)
    for operation in found:
        if not operation.path.startswith("/oauth"):
            answer_as_described(operation, {"X-API-Key": open_bank.api_key})


def answer_as_described(operation: Any, headers: dict[str, str]) -> None:
    """Try one operation with a dozen requests, right and wrong."""

    @settings(max_examples=12, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def try_one(case: Any) -> None:
        case.call_and_validate(headers=headers | {"Vedette-Deadline-Ms": "50"}, checks=CHECKS)

    try_one()


@pytest.mark.parametrize(
    ("path", "body", "media_type", "status"),
    [
        ("/v1/decisions", b"[" * 15_000, "application/json", 422),
        ("/v1/decisions", b"{" + b" " * 20_000 + b"}", "application/json", 413),
        ("/v1/decisions", b"<a/>", "text/xml", 415),
        ("/v1/decisions", b"", "application/json", 422),
        ("/v1/decisions:batch", b'{"transactions":[]}', "application/json", 422),
        ("/v1/decisions:batch", b'{"transactions":[' + b"{}," * 100 + b"{}]}", "application/json", 422),
        ("/v1/transactions", b"{}\n" * 501, "application/x-ndjson", 422),
        ("/v1/decisions/", b"{}", "application/json", 404),
    ],
)
def test_what_is_too_large_too_deep_or_of_another_kind_is_a_problem(
    client: httpx2.Client, path: str, body: bytes, media_type: str, status: int
) -> None:
    """Every refusal is a problem document, whatever part of the server refuses."""
    answer = client.post(path, content=body, headers={"Content-Type": media_type})
    assert answer.status_code in (status, 405) if path.endswith("/") else answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == answer.status_code


@pytest.mark.parametrize("deadline", ["0", "2001", "soon", "1e3"])
def test_a_deadline_out_of_bounds_is_refused(client: httpx2.Client, deadline: str) -> None:
    """Header and value are named."""
    answer = client.post("/v1/decisions", content=b"{}", headers={"Vedette-Deadline-Ms": deadline})
    problem = answer.json()
    assert (answer.status_code, problem["field"], problem["value"]) == (422, "Vedette-Deadline-Ms", deadline)


def test_a_payment_is_followed_until_its_decision_is_final(client: httpx2.Client) -> None:
    """The stream of events ends by itself with the final decision."""
    paid = payment()
    body = msgspec.json.encode(paid)
    client.post("/v1/transactions", content=body, headers={"Content-Type": "application/x-ndjson"})
    with client.stream("GET", f"/v1/decisions/{paid.transaction_id}/events") as stream:
        lines = [line for line in stream.iter_lines() if line.startswith("data:") and len(line) > 10]
    newest = json.loads(lines[-1].removeprefix("data:"))
    assert (newest["transaction_id"], newest["final"]) == (paid.transaction_id, True)


def test_nothing_personal_is_logged(open_bank: Bank, client: httpx2.Client) -> None:
    """Neither accounts nor keys of right and wrong requests are in the logs."""
    secret = "account-4711"
    for body in (json.dumps({"account_id": secret}), f'{{"account_id": "{secret}", "transaction_id": }}'):
        client.post("/v1/decisions", content=body.encode())
    gateway = open_bank.gateways[0]
    connection = HTTPConnection(gateway.url.removeprefix("http://"))
    connection.request("GET", f"/v1/decisions/x?account={secret}")
    connection.getresponse().read()
    connection.close()
    logged = gateway.log.read_text() + Path(open_bank.settings.audit.path).read_text()
    assert secret not in logged
    assert open_bank.api_key not in logged
