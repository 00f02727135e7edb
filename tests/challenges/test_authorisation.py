"""Who may use which route: one line for each route, which a test keeps complete, tried with every role."""

import re
import uuid
from collections.abc import Callable, Iterator

import pytest
from fastapi.testclient import TestClient

from access.roles import Role
from stack.redis_server import RedisKind
from tests.challenges.conftest import binding, enrol
from tests.challenges.whole import Whole, whole_service
from tests.shared_servers import SharedRedis

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

OPEN = {"POST /oauth/token", "GET /healthz", "GET /readyz", "GET /openapi.json"}

ROLES = ["app", "representative", "analyst", "auditor", "payments", "nobody", "customer"]
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
def whole(redis_of: Callable[[RedisKind], SharedRedis], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    """The service, once for all routes and roles."""
    directory = tmp_path_factory.mktemp("whole")
    with whole_service(
        redis_of("embedded").url, directory, f"matrix-{uuid.uuid4().hex[:8]}-", "http://localhost:8470"
    ) as made:
        yield made


def client_of(whole: Whole, role: str) -> TestClient:
    """A client with everything that a role has: an API key, or a customer's session under every cookie's name."""
    client = TestClient(whole.app, base_url="http://localhost:8470", follow_redirects=False)
    if role == "customer":
        answer = client.post(f"/call/link/{whole.wired.checks.new_link('a-1')}")
        (cookie,) = answer.cookies.values()
        client.cookies = dict.fromkeys(("challenge", "enrolment", "desk"), cookie)  # type: ignore[assignment]
    elif role != "nobody":
        client.headers["X-API-Key"] = whole.api_keys[role]
    return client


def ask(whole: Whole, client: TestClient, name: str) -> int:
    """Return the status of a request that is complete except, perhaps, for the permission."""
    method, _, path = name.partition(" ")
    whole.clock.now += 60_000  # so that nobody is refused for coming too often
    body = {"data": FORM} if method == "POST" and "/v1/" not in path else {}
    return client.request(method, path.format(**IDS), **body).status_code  # type: ignore[arg-type]


def enrolment(name: str) -> bool:
    """Whether a route belongs to enrolment; those share one rule."""
    return name.partition(" ")[2].startswith(("/v1/accounts/", "/e/", "/enrol"))


def test_every_route_is_accounted_for(whole: Whole) -> None:
    """A route without a line above, or a line without a route, fails, so every new route gets explicit permissions."""
    assert {name for name in whole.routes() if not enrolment(name)} == {*API, *PAGES, *OPEN}


@pytest.mark.parametrize("role", ROLES)
def test_the_api_lets_in_who_may(whole: Whole, role: str) -> None:
    """A role with the permission passes the guard of every route; others get 403, and requests without a key 401."""
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
    """Only the institution's app changes an enrolment, and auditors may read it; pages require a session."""
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


def ended_by_reset(whole: Whole, client: TestClient) -> None:
    """Sessions of every kind of customer's page, ended by a reset of the account."""
    wired = whole.wired
    enrol(wired.challenges, "a-9")
    record = wired.challenges.issue(binding(9, account_id="a-9"))
    client.post(f"/c/{wired.challenges.new_link(record.challenge_id)}")
    client.post(f"/e/{wired.enrolment_links.make('a-9', '')}")
    client.post(f"/call/link/{wired.checks.new_link('a-9')}")
    assert [client.get(path).status_code for path in ("/challenge", "/enrol", "/call")] == [200] * 3
    wired.enrolment.reset("a-9")


def ended_by_sign_out(whole: Whole, client: TestClient) -> None:
    """A session of the desk, ended by its owner."""
    client.post("/desk/sign-in", data={"key": whole.api_keys["representative"]})
    cookies = dict(client.cookies)
    csrf = re.search(r'name="csrf" value="([^"]*)"', client.get("/desk").text)
    assert csrf
    client.post("/desk/sign-out", data={"csrf": csrf[1]})
    client.cookies.update(cookies)


def ended_by_revocation(whole: Whole, client: TestClient) -> None:
    """Sessions of the desk and of customers' pages, ended by revoking the credentials that created them."""
    credentials = whole.wired.credentials
    desk, app = (credentials.create("for a while", role) for role in (Role.REPRESENTATIVE, Role.APP))
    client.post("/desk/sign-in", data={"key": desk.api_key})
    client.post(f"/e/{whole.wired.enrolment_links.make('a-8', app.credential.id)}")
    client.post(f"/call/link/{whole.wired.checks.new_link('a-8', actor=app.credential.id)}")
    assert [client.get(path).status_code for path in ("/desk", "/enrol", "/call")] == [200] * 3
    for ended in (desk, app):
        credentials.revoke(ended.credential.id)


@pytest.mark.parametrize("end", [ended_by_reset, ended_by_sign_out, ended_by_revocation])
def test_sessions_that_have_ended_open_nothing(whole: Whole, end: Callable[[Whole, TestClient], None]) -> None:
    """After a reset, a sign-out or a revocation every page answers as without a session."""
    client = TestClient(whole.app, base_url="http://localhost:8470", follow_redirects=False)
    whole.clock.now += 60_000
    end(whole, client)
    for name, expected in PAGES.items():
        assert ask(whole, client, name) == expected, name
    for name in filter(enrolment, whole.routes()):
        if "/v1/" not in name and "{token}" not in name:
            assert ask(whole, client, name) in (403, 404), name
