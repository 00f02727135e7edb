"""No request makes the console fail, whoever sends it, on SQLite and on PostgreSQL."""

from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from console.roles import StaffRole
from console.routes import ROUTES
from tests.console.conftest import NO_REDIS, ORIGIN, Person, Site, alert, opened_site
from tests.hostile import assert_harmless, hostile, requests_to, swept
from vedette.clock import MINUTE
from vedette.settings import DatabaseSettings

ENDLESS, ENDING = "GET /live/stream", {"POST /sign-out", "POST /me/sign-out-everywhere"}
ALL = {f"{method} {path}" for method, path in ROUTES}
AWAY = ("/readyz", "/payments/", "/policy/", "/models/")
KNOWN = {"number": "1", "name": "a-lead", "transaction": "t1"}


USUAL = {
    "number": "1", "name": "a-lead", "token": "x" * 32, "transaction": "t1", "decision": "fraud", "queue": "order=due",
    "next": "/", "role": "analyst", "revision": "1",
    "kind": "none", "chosen": "usual", "account_id": "a1", "amount": "5", "currency": "EUR", "payee": "p1",
}  # fmt: skip
QUEUE, LIVE = ("standing", "holder", "account", "min_loss", "older", "order"), ("action", "text", "min_score")
ALSO = {"GET /queue": QUEUE, "GET /queue/arrivals": QUEUE, "POST /queue/next": QUEUE, "GET /live": LIVE}


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def hostile_site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A console with an incident, on each database; neither Redis nor an archive is there."""
    directory = tmp_path_factory.mktemp("hostile")
    database = None
    if request.param == "postgresql":
        database = DatabaseSettings(url=request.getfixturevalue("postgres"))
    with opened_site(directory, structlog.get_logger("test"), ORIGIN, NO_REDIS, database) as opened:
        opened.open(alert(1))
        yield opened


def headers_of(person: Person) -> dict[str, str]:
    """What goes along with every request of a person's pages."""
    return {"Cookie": f"console={person.browser.cookies['console']}", "X-CSRF-Token": person.csrf, "Origin": ORIGIN}


@hostile
@given(data=st.data())
def test_no_request_of_a_stranger_is_a_failure(hostile_site: Site, data: st.DataObject) -> None:
    """Without a session every route refuses, redirects to the sign-in, or is public."""
    sent = data.draw(requests_to([*ALL, "GET /static/{file}", "GET /{path}"], known=KNOWN))
    hostile_site.clock.now += MINUTE  # so that nobody is refused for coming too often
    got = hostile_site.browser().request(sent.method, sent.target, headers=sent.headers, content=sent.body)  # type: ignore[arg-type]
    assert_harmless(sent, got, {503} if sent.target.startswith("/readyz") else ())


@pytest.mark.parametrize("role", [StaffRole.LEAD, StaffRole.ADMINISTRATOR, StaffRole.AUDITOR])
def test_no_request_of_a_colleague_is_a_failure(hostile_site: Site, role: StaffRole) -> None:
    """With a session and the value of its forms, so that every field reaches what reads it."""
    person = hostile_site.person(role)
    headers = headers_of(person)

    @hostile
    @given(sent=requests_to(ALL - ENDING - {ENDLESS}, [headers], KNOWN))
    def each(sent: object) -> None:
        got = hostile_site.browser().request(sent.method, sent.target, headers=sent.headers, content=sent.body)  # type: ignore[attr-defined]
        # Pages say what is away: the archive, and the policy in force without a broker.
        assert_harmless(sent, got, {503} if sent.target.startswith(AWAY) else ())  # type: ignore[arg-type, attr-defined]

    each()
    assert person.get("/me").status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("hostile_site", [pytest.param("postgresql", marks=pytest.mark.servers)], indirect=True)
@pytest.mark.parametrize("role", [StaffRole.LEAD, StaffRole.ADMINISTRATOR])
def test_no_value_of_any_field_is_a_failure(hostile_site: Site, role: StaffRole) -> None:
    """Each field of each route with each odd value, the others being right; SQLite takes whatever PostgreSQL takes."""
    person = hostile_site.person(role)
    headers = {name: value.encode() for name, value in headers_of(person).items()}
    tried = 0
    for sent in swept(hostile_site.console.app, USUAL, {"POST /sign-in", ENDLESS, *ENDING}, ALSO):
        got = person.browser.request(sent.method, sent.target, headers=headers | sent.headers, content=sent.body)  # type: ignore[arg-type]
        missing = sent.target.startswith((*AWAY, "/cases/1/ask"))  # archive and Redis
        assert_harmless(sent, got, {503} if missing else ())
        tried += got.status_code != 403
    assert tried > 500
