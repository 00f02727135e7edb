"""Who may do what: sign-in, sessions, the table of routes and roles, forms."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier

import pyotp
import pytest
from fastapi import APIRouter
from fastapi.testclient import TestClient

from console.guard import local_path
from console.roles import PERMISSIONS, Permission, StaffRole
from console.routes import ROUTES, Access
from console.web import build_app
from tests.console.conftest import PASSWORD, Person, Site, alert
from vedette.clock import DAY, MINUTE
from vedette.errors import InputError, UnavailableError

FILLED = {"number": "1", "name": "nobody", "token": "x" * 32, "kind": "none", "transaction:path": "t1"}
"""Values of the parameters of paths."""


def filled(path: str) -> str:
    """Return the path of a route with values."""
    return re.sub(r"\{([^}]+)\}", lambda found: FILLED[found[1]], path)


NEEDING = [(method, path, access) for (method, path), access in ROUTES.items() if not access.public]


def test_every_route_admits_the_roles_of_the_table(shared_site: Site) -> None:
    """A role without the permission gets 403, every other one something else; a refusal is in the audit log."""
    for role in StaffRole:
        person = shared_site.person(role)
        csrf = {"x-csrf-token": person.csrf}
        for method, path, access in NEEDING:
            if path in ("/sign-out", "/me/sign-out-everywhere", "/live/stream"):
                continue  # these end the session, or never end
            answer = person.browser.request(method, filled(path), headers=csrf)
            allowed = access.permission is None or access.permission in PERMISSIONS[role]
            assert (answer.status_code != 403) == allowed, f"{role} {method} {path}: {answer.status_code}"
            assert answer.status_code != 500, f"{role} {method} {path}: {answer.status_code}"
    assert len(shared_site.audited("console.refused")) > 50


@pytest.mark.parametrize(("method", "path", "access"), NEEDING, ids=[f"{m} {p}" for m, p, _ in NEEDING])
def test_nobody_gets_in_without_a_session(shared_site: Site, method: str, path: str, access: Access) -> None:
    """A page redirects to the sign-in, and back afterwards; nothing else is revealed."""
    del access
    answer = shared_site.browser().request(method, filled(path))
    if path == "/live/stream":
        assert answer.status_code == 204
        return
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/sign-in")


def test_forms_of_other_pages_are_refused(shared_site: Site) -> None:
    """Forms without the session's value, with that of another session, and from another site."""
    person, other = shared_site.person("lead", "ana"), shared_site.person("administrator", "root")
    foreign = {"origin": "https://evil.example"}
    for method, path, _ in NEEDING:
        if method == "GET":
            continue
        for fields, headers in (({}, {}), ({"csrf": other.csrf}, {}), ({"csrf": person.csrf}, foreign)):
            answer = person.browser.request(method, filled(path), data=fields, headers=headers)
            assert answer.status_code == 403, f"{method} {path} {fields}"


def test_a_route_without_an_entry_cannot_be_served(site: Site) -> None:
    """The app does not start, so a missing permission cannot go unnoticed."""
    router = APIRouter()
    router.get("/forgotten")(lambda: None)
    with pytest.raises(LookupError, match="/forgotten"):
        build_app(
            [router], None, public_url="", name="", clock=site.clock, readiness=site.console.readiness, log=None,  # type: ignore[arg-type]
        )  # fmt: skip


def test_administrators_see_no_payments_and_auditors_change_nothing() -> None:
    """The table matches the documentation."""
    assert PERMISSIONS[StaffRole.ADMINISTRATOR] == {Permission.USERS_READ, Permission.USERS_MANAGE}
    assert all(permission.endswith(":read") for permission in PERMISSIONS[StaffRole.AUDITOR])
    assert PERMISSIONS.keys() == set(StaffRole)


def signed_in(site: Site, browser: TestClient, name: str, **changes: str) -> int:
    """Try to sign in; return the status."""
    fields = {"name": name, "password": PASSWORD, "code": site.code(name)} | changes
    return browser.post("/sign-in", data=fields).status_code


def test_signing_in(site: Site) -> None:
    """Name, password and code are checked together; all failures look alike; a code works once; sessions are new."""
    site.accepted("ana")
    browser = site.browser()
    wrong = [
        browser.post("/sign-in", data={"name": name, "password": password, "code": code})
        for name, password, code in (
            ("nobody", PASSWORD, site.code("ana")),
            ("ana", "another password", site.code("ana")),
            ("ana", PASSWORD, "000000"),
            ("", "", ""),
        )
    ]
    assert {answer.status_code for answer in wrong} == {422}
    texts = {re.sub(r'name="name" value="\w*"', "", answer.text) for answer in wrong}
    assert len(texts) == 1
    browser.cookies.set("console", "f" * 32)  # fixed by somebody else
    used = site.code("ana")
    answer = browser.post("/sign-in", data={"name": "ANA ", "password": PASSWORD, "code": used, "next": "/me"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/me")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert f"console={'f' * 32}" not in cookie
    assert browser.get("/me").status_code == 200
    assert signed_in(site, site.browser(), "ana", code=used) == 422
    assert [record.actor for record in site.audited("console.signed-in")] == ["ana"]
    assert len(site.audited("console.sign-in-refused")) == 5


def test_a_new_sign_in_ends_the_session_of_the_browser(site: Site) -> None:
    """A cookie that somebody copied before is useless afterwards."""
    site.accepted("ana")
    person = site.person("analyst", "ana")
    before = person.browser.cookies["console"]
    assert signed_in(site, person.browser, "ana") == 303
    old = site.browser()
    old.cookies.set("console", before)
    assert old.get("/me").status_code == 303


def test_guessing_locks_the_account(site: Site) -> None:
    """Ten failures in a row lock it for five minutes, also for the right password."""
    site.accepted("ana")
    for number in range(10):
        site.clock.now += 4_000
        assert signed_in(site, site.browser(), "ana", code=f"00000{number}") == 422
    assert signed_in(site, site.browser(), "ana") == 422
    site.clock.now += 5 * MINUTE
    assert signed_in(site, site.browser(), "ana") == 303


def test_guesses_in_parallel_lock_the_account_too(site: Site) -> None:
    """Each is counted before it is looked at, so that none of them sees a count of before."""
    site.accepted("ana")
    start = Barrier(12)

    def guess(number: int) -> None:
        start.wait(60)
        with suppress(UnavailableError):  # on a busy machine not all are checked
            assert site.console.users.sign_in("ana", PASSWORD, f"0000{number:02}") is None

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(guess, range(12)))
    assert site.console.users.sign_in("ana", PASSWORD, site.code("ana")) is None
    site.clock.now += 5 * MINUTE
    assert site.console.users.sign_in("ana", PASSWORD, site.code("ana")) is not None


def test_guessing_the_code_of_a_step_locks_the_account(site: Site) -> None:
    """Whoever sits down at a screen left alone has ten tries, and no more with the right code."""
    site.accepted("ana", "lead")
    user = site.user("ana", "lead")
    assert not any(site.console.users.prove(user, f"00000{number}") for number in range(10))
    assert not site.console.users.prove(user, site.code("ana"))
    assert signed_in(site, site.browser(), "ana") == 422
    site.clock.now += 5 * MINUTE
    assert site.console.users.prove(user, site.code("ana"))


def test_an_address_cannot_try_for_ever(site: Site) -> None:
    """The limit is twenty tries a minute, whatever the name."""
    browser = site.browser()
    statuses = [browser.post("/invitation/none", data={"password": "a", "again": "b"}).status_code for _ in range(21)]
    assert statuses[:20] == [404] * 20
    assert statuses[20] == 429


def test_sessions_end(site: Site) -> None:
    """They end when idle, after their lifetime, on sign-out here or everywhere, and with the account."""
    idle = site.person("analyst", "ana")
    site.clock.now += 29 * MINUTE
    assert idle.get("/queue/arrivals").status_code == 200  # the page asks by itself
    site.clock.now += 2 * MINUTE
    assert idle.get("/me").status_code == 303

    lively = site.person("analyst", "ana")
    for _ in range(25):
        site.clock.now += 29 * MINUTE
        lively.get("/me")
    assert lively.get("/me").status_code == 303

    here, there = site.person("analyst", "ana"), site.person("analyst", "ana")
    here.post("/sign-out")
    assert (here.get("/me").status_code, there.get("/me").status_code) == (303, 200)
    third = site.person("analyst", "ana")
    third.post("/me/sign-out-everywhere")
    assert there.get("/me").status_code == 303

    last = site.person("analyst", "ana")
    site.person("administrator", "root").post("/users/ana/disable")
    assert last.get("/me").status_code == 303


def _signed_out(site: Site, person: Person) -> None:
    del site
    cookie = person.browser.cookies["console"]
    person.post("/sign-out")
    person.browser.cookies.set("console", cookie)


def _signed_out_elsewhere(site: Site, person: Person) -> None:
    site.person("lead", person.user.name).post("/me/sign-out-everywhere")


def _disabled(site: Site, person: Person) -> None:
    site.console.users.disable(person.user.name)


def _invited_again(site: Site, person: Person) -> None:
    site.console.users.invite(person.user.name)


def _left_alone(site: Site, person: Person) -> None:
    del person
    site.clock.now += 31 * MINUTE


@pytest.mark.parametrize("end", [_signed_out, _signed_out_elsewhere, _disabled, _invited_again, _left_alone])
def test_sessions_that_have_ended_open_nothing(site: Site, end: Callable[[Site, Person], None]) -> None:
    """After a sign-out, a new invitation, the end of the account or of time, every route answers as to a stranger."""
    person = site.person("lead", "ana")
    headers = {"x-csrf-token": person.csrf}
    assert person.get("/queue").status_code == 200
    end(site, person)
    for method, path, _ in NEEDING:
        answer = person.browser.request(method, filled(path), headers=headers)
        if path == "/live/stream":
            assert answer.status_code == 204
        else:
            assert (answer.status_code, answer.headers["location"][:8]) == (303, "/sign-in"), f"{method} {path}"


def test_an_invitation_sets_up_password_and_app(site: Site) -> None:
    """It works once, within a day, with a good password and the code of the app."""
    root = site.person("administrator", "root")
    page = root.post("/users", name="Ben", role="analyst").text
    link = re.search(r"http://localhost:8460(/invitation/[\w-]{32})", page)
    assert link
    browser = site.browser()
    shown = browser.get(link[1])
    secret = re.search(r'<code class="secret">([A-Z2-7]{32})<', shown.text)
    assert secret
    app = pyotp.TOTP(secret[1])
    fields = {"password": PASSWORD, "again": PASSWORD, "code": app.at(site.clock.now // 1000)}
    for wrong in ({"again": "other"}, {"password": "short", "again": "short"}, {"code": "000000"},
                  {"password": "ben" * 9, "again": "ben" * 9}, {"password": "a" * 20, "again": "a" * 20}):  # fmt: skip
        assert browser.post(link[1], data=fields | wrong).status_code == 422
    assert browser.post(link[1], data=fields).headers["location"] == "/"
    assert browser.get("/").headers["location"] == "/queue"
    assert browser.post(link[1], data=fields).status_code == 404
    assert root.post("/users", name="ben", role="analyst").status_code == 422
    assert root.post("/users", name="eve", role="root").status_code == 422
    assert root.post("/users/root/disable").status_code == 422

    again = site.console.users.invite("ben")
    assert browser.get("/").headers["location"] == "/sign-in"  # sessions, password and app are void
    site.clock.now += DAY
    assert site.browser().get(f"/invitation/{again}").status_code == 404


def test_a_link_signs_in_once_and_proves_no_code(site: Site) -> None:
    """It works within ten minutes and sets no password; a step that needs a fresh code still asks for one."""
    site.accepted("ana", "lead")
    path = f"/invitation/{site.console.users.sign_in_link('ana')}"
    browser = site.browser()
    fields = {"password": PASSWORD, "again": PASSWORD, "code": "000000"}
    assert "Sign in" in browser.get(path).text
    assert browser.post(path, data=fields).headers["location"] == "/"
    assert browser.get("/").headers["location"] == "/queue"
    assert site.browser().post(path).status_code == 404
    (number,) = site.open(alert(1))
    csrf = {"x-csrf-token": re.search(r'value="([0-9a-f]{64})"', browser.get("/me").text)[1]}  # type: ignore[index]
    assert 'id="code"' in browser.post("/queue/bulk", data={"chosen": number}, headers=csrf).text
    late = f"/invitation/{site.console.users.sign_in_link('ana')}"
    site.clock.now += 10 * MINUTE
    assert site.browser().post(late).status_code == 404
    site.user("new", "analyst")
    with pytest.raises(InputError, match="has not accepted"):
        site.console.users.sign_in_link("new")


def test_names_of_users_are_plain(site: Site) -> None:
    """They appear in addresses and in the audit log."""
    for name in ("", "Ana", "a b", "-a", "a/b", "é", "a" * 65):
        with pytest.raises(InputError, match="is not a user name"):
            site.console.users.add(name, StaffRole.ANALYST)


@pytest.mark.parametrize(
    "wanted", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "evil", "", "/a\nb"]
)
def test_no_redirect_leads_elsewhere(shared_site: Site, wanted: str) -> None:
    """This holds after the sign-in and after a choice of language."""
    assert local_path(wanted) == "/"
    person = shared_site.person()
    assert person.post("/me/preferences", next=wanted).headers["location"] in ("/", "/me")
    assert person.get("/sign-in", params={"next": wanted}).headers["location"] == "/"
