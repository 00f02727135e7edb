"""Who may use which route: one line a route, made complete by a test, tried with every role."""

from collections.abc import Callable, Iterator

import pytest
from fastapi.testclient import TestClient

from stack.redis_server import RedisKind, RedisServer
from tests.mfa.whole import Whole, whole_service

APP, DESK, READERS = {"app"}, {"representative"}, {"app", "analyst", "auditor"}

# The institution's API: which roles may.
API = {
    "POST /v1/challenges": APP,
    "GET /v1/challenges/{challenge_id}": READERS,
    "POST /v1/challenges/{challenge_id}/answer": APP,
    "POST /v1/challenges/{challenge_id}/deny": APP,
    "POST /v1/challenges/{challenge_id}/ask": APP,
    "POST /v1/challenges/{challenge_id}/link": APP,
    "GET /v1/challenges/{challenge_id}/passkey": READERS,
    "POST /v1/call-links": APP,
    "POST /v1/calls": DESK,
    "GET /v1/calls/{call_id}": {"representative", "analyst", "auditor"},
    "POST /v1/calls/{call_id}/code": DESK,
    "POST /v1/calls/{call_id}/invite": DESK,
    "POST /v1/calls/{call_id}/end": DESK,
}

# Pages: what anybody without the right session gets, whatever API key they send along.
PAGES = {
    "GET /c/{token}": 200,
    "POST /c/{token}": 404,
    "GET /challenge": 404,
    "POST /challenge/answer": 403,
    "POST /challenge/deny": 403,
    "POST /challenge/ask": 403,
    "GET /call/link/{token}": 200,
    "POST /call/link/{token}": 404,
    "GET /call": 404,
    "GET /call/events": 204,
    "POST /call/start": 403,
    "POST /call/answer": 403,
    "GET /desk": 200,
    "POST /desk/sign-in": 401,
    "POST /desk/sign-out": 403,
    "POST /desk/calls": 403,
    "GET /desk/calls/{call_id}": 303,
    "GET /desk/calls/{call_id}/events": 204,
    "POST /desk/calls/{call_id}/code": 403,
    "POST /desk/calls/{call_id}/invite": 403,
    "POST /desk/calls/{call_id}/end": 403,
}

OPEN = {"POST /oauth/token", "GET /healthz", "GET /openapi.json"}

ROLES = ["app", "representative", "analyst", "auditor", "nobody", "customer"]
IDS = {
    "challenge_id": "0" + "a" * 24,
    "call_id": "0" + "a" * 24,
    "token": "x" * 32,
    "account_id": "a-1",
    "factor": "totp",
}
FORM = dict.fromkeys(
    ("csrf", "shown", "factor", "value", "call", "heard", "account", "key", "code", "kind", "phone"), "x"
)


@pytest.fixture(scope="module")
def whole(redis_of: Callable[[RedisKind], RedisServer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    """The service, once for all routes and roles."""
    directory = tmp_path_factory.mktemp("whole")
    with whole_service(redis_of("embedded").url, directory, "matrix-", "http://localhost:8470") as made:
        yield made


def client_of(whole: Whole, role: str) -> TestClient:
    """A client that shows all that a role has: an API key, or a customer's session under every cookie's name."""
    client = TestClient(whole.app, base_url="http://localhost:8470", follow_redirects=False)
    if role == "customer":
        answer = client.post(f"/call/link/{whole.wired.checks.new_link('a-1')}")
        (cookie,) = answer.cookies.values()
        client.cookies = dict.fromkeys(("challenge", "enrolment", "desk"), cookie)  # type: ignore[assignment]
    elif role != "nobody":
        client.headers["X-API-Key"] = whole.api_keys[role]
    return client


def ask(whole: Whole, client: TestClient, name: str) -> int:
    """The status of a route's answer to a request that lacks nothing but, perhaps, the right."""
    method, _, path = name.partition(" ")
    whole.clock.now += 60_000  # so that nobody is refused for coming too often
    body = {"data": FORM} if method == "POST" and "/v1/" not in path else {}
    return client.request(method, path.format(**IDS), **body).status_code  # type: ignore[arg-type]


def enrolment(name: str) -> bool:
    """Whether a route is one of enrolment, which have one rule for all."""
    return name.partition(" ")[2].startswith(("/v1/accounts/", "/e/", "/enrol"))


def test_every_route_is_accounted_for(whole: Whole) -> None:
    """A route without a line above, or a line without a route, fails: nobody adds one without saying who may."""
    assert {name for name in whole.routes() if not enrolment(name)} == {*API, *PAGES, *OPEN}


@pytest.mark.parametrize("role", ROLES)
def test_the_api_lets_in_who_may(whole: Whole, role: str) -> None:
    """A role that may passes the guard of every route it has; others get 403, and who has no key gets 401."""
    client = client_of(whole, role)
    anonymous = role in ("nobody", "customer")
    for name, may in API.items():
        status = ask(whole, client, name)
        if role in may:
            assert status in (404, 422), (name, status)
        else:
            assert status == (401 if anonymous else 403), (name, status)


@pytest.mark.parametrize("role", ROLES)
def test_enrolment_is_for_the_app_to_change(whole: Whole, role: str) -> None:
    """Only the institution's app changes an enrolment, auditors may look; pages open to nobody without a session."""
    client = client_of(whole, role)
    for name in filter(enrolment, whole.routes()):
        status = ask(whole, client, name)
        method, _, path = name.partition(" ")
        if not path.startswith("/v1/"):
            assert status in (200, 403, 404) if path.startswith("/e/") else status in (403, 404, 422), (name, status)
        elif role == "app" or (role == "auditor" and method == "GET"):
            assert status not in (401, 403), (name, status)
        else:
            assert status == (401 if role in ("nobody", "customer") else 403), (name, status)


@pytest.mark.parametrize("role", ROLES)
def test_pages_open_to_sessions_alone(whole: Whole, role: str) -> None:
    """No API key and no session of another kind opens a page."""
    client = client_of(whole, role)
    for name, expected in PAGES.items():
        assert ask(whole, client, name) == expected, name
