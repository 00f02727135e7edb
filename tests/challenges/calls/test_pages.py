import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import msgspec
import pytest

from access.keyring import Keyring
from access.roles import Role
from challenges.calls.state_machine import LIFETIME, code
from tests.challenges.calls.conftest import Site
from tests.conftest import Dial, wait_for

ACCOUNT = "DE0212030000000020205155"


class Screen:
    """A browser without JavaScript on one side, which keeps everything that it receives."""

    def __init__(self, url: str) -> None:
        self.client = httpx.Client(base_url=url, follow_redirects=True, timeout=10)
        self.received: list[str] = []
        self.client.event_hooks["response"].append(self._keep)

    def _keep(self, response: httpx.Response) -> None:
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            return  # kept line by line in `watch`
        response.read()
        self.received.append(f"{response.url} {response.headers} {response.text}")

    def get(self, path: str) -> httpx.Response:
        """A page."""
        return self.client.get(path)

    def submit(self, page: httpx.Response, action: str, **fields: str) -> httpx.Response:
        """Send the form of a page with this action, and its hidden fields."""
        form = next(f for f in re.findall("<form.*?</form>", page.text, re.DOTALL) if f'action="{action}"' in f)
        hidden = dict(re.findall('<input type="hidden" name="([^"]+)" value="([^"]*)">', form))
        return self.client.post(action, data=hidden | fields)

    def watch(self, page: httpx.Response, until: str) -> "threading.Thread":
        """Follow a page's events in a thread until one contains this text."""
        found = re.search('data-events="([^"]+)"', page.text)
        assert found

        def listen() -> None:
            with self.client.stream("GET", found[1].replace("&amp;", "&")) as stream:
                for line in stream.iter_lines():
                    self.received.append(line)
                    if until in line:
                        return

        thread = threading.Thread(target=listen)
        thread.start()
        return thread

    def saw(self, text: str) -> bool:
        """Whether it ever received a text, however spaced."""
        wanted = re.sub(r"\s", "", text)
        return any(wanted in re.sub(r"\s", "", each) for each in self.received)

    @property
    def digits(self) -> str:
        """Return all digits that it received, answer by answer."""
        return "|".join(re.sub("[^0-9]", "", re.sub("<[^>]*>", " ", each)) for each in self.received)


@pytest.fixture
def screens(site: Site) -> Iterator[Callable[[], Screen]]:
    """Opens browsers."""
    with ExitStack() as stack:

        def open_() -> Screen:
            screen = Screen(site.url)
            stack.callback(screen.client.close)
            return screen

        yield open_


@pytest.fixture
def customer(site: Site, screens: Callable[[], Screen]) -> Screen:
    """The customer, admitted by a link that the institution's app requested."""
    app = site.credentials.create("app", Role.APP)
    answer = httpx.post(f"{site.url}/v1/call-links", json={"account_id": ACCOUNT}, headers={"X-API-Key": app.api_key})
    screen = screens()
    path = answer.json()["url"].removeprefix(site.url)
    assert screen.get(path).status_code == 200
    assert screen.client.post(path).url.path == "/call"
    return screen


def signed_in(site: Site, screen: Screen, name: str = "ann") -> Screen:
    """A representative at the desk."""
    made = site.credentials.create(name, Role.REPRESENTATIVE)
    assert screen.client.post("/desk/sign-in", data={"key": made.api_key}).url.path == "/desk"
    return screen


@pytest.fixture
def desk(site: Site, screens: Callable[[], Screen]) -> Screen:
    """A representative at the desk."""
    return signed_in(site, screens())


def started(desk: Screen) -> httpx.Response:
    """Return the desk's page of a check that has just begun."""
    return desk.submit(desk.get("/desk"), "/desk/calls", account=ACCOUNT)


def codes(site: Site, keys: Keyring) -> tuple[str, str]:
    """Return A and B of the account's check."""
    call = site.checks.of_account(ACCOUNT)
    assert call
    return code(call, "a", keys), code(call, "b", keys)


def grouped(text: str) -> str:
    """Return a code as pages show it."""
    return f"{text[:4]} {text[4:]}"


def test_a_call_from_beginning_to_end(site: Site, desk: Screen, customer: Screen, keys: Keyring) -> None:
    """Without JavaScript both sides verify each other, and neither side receives what it must not see."""
    page = started(desk)
    code_a, code_b = codes(site, keys)
    assert grouped(code_a) in page.text
    asked = customer.get("/call")
    assert grouped(code_a) in asked.text
    assert not customer.saw(code_b)
    told = customer.submit(asked, "/call/answer", heard="yes")
    assert grouped(code_b) in told.text
    page = desk.get(page.url.path)
    wrong = desk.submit(page, f"{page.url.path}/code", code="0000 0000")
    assert "Attempts left: 2" in wrong.text
    assert "Attempts left: 2" in customer.get("/call").text
    done = desk.submit(wrong, f"{page.url.path}/code", code=code_b)
    assert "The call is verified" in done.text
    assert "The call is verified" in customer.get("/call").text
    assert not desk.saw(code_b)
    assert code_b not in desk.digits
    assert code_b in customer.digits


def test_both_screens_follow_at_once(site: Site, desk: Screen, customer: Screen, keys: Keyring) -> None:
    """Each screen follows the other side's actions by itself; still neither side receives what it must not see."""
    customers = customer.watch(customer.get("/call"), "The representative has ended the check")
    page = started(desk)
    desks = desk.watch(page, "You have ended the check")
    code_a, code_b = codes(site, keys)
    wait_for(lambda: customer.saw(code_a))
    assert not customer.saw(code_b)
    customer.submit(customer.get("/call"), "/call/answer", heard="yes")
    wait_for(lambda: customer.saw(code_b))
    wait_for(lambda: desk.saw("The customer knows that it is the bank"))
    desk.submit(desk.get(page.url.path), f"{page.url.path}/code", code="1")
    for screen in (customer, desk):
        wait_for(lambda screen=screen: screen.saw("Attempts left: 2"))  # type: ignore[misc]
    desk.submit(desk.get(page.url.path), f"{page.url.path}/end")
    for thread in (customers, desks):
        thread.join(30)
        assert not thread.is_alive()
    assert code_b not in desk.digits
    assert code_b in customer.digits


def test_a_customer_who_calls_sees_the_codes(site: Site, desk: Screen, customer: Screen, keys: Keyring) -> None:
    """The customer starts; the page shows A but takes no answer until a representative has taken the call."""
    waiting = customer.submit(customer.get("/call"), "/call/start")
    code_a, code_b = codes(site, keys)
    assert grouped(code_a) in waiting.text
    assert "/call/answer" not in waiting.text
    page = started(desk)
    assert grouped(code_a) in page.text
    told = customer.submit(customer.get("/call"), "/call/answer", heard="yes")
    assert grouped(code_b) in told.text
    page = desk.get(page.url.path)
    assert "verified" in desk.submit(page, f"{page.url.path}/code", code=code_b).text


def test_a_mismatch_shows_on_both_sides(desk: Screen, customer: Screen) -> None:
    """A customer who heard another code ends the check, and both sides see what to do next."""
    page = started(desk)
    told = customer.submit(customer.get("/call"), "/call/answer", heard="no")
    assert "Please hang up" in told.text
    assert "heard another code" in desk.get(page.url.path).text


def test_expiry_shows_on_both_sides(desk: Screen, customer: Screen, dial: Dial) -> None:
    """After two minutes both screens show the expiry, without a code, and the customer may start again."""
    page = started(desk)
    dial.now += LIFETIME
    for screen, path in ((desk, page.url.path), (customer, "/call")):
        shown = screen.get(path)
        assert "has expired" in shown.text
        assert "spoken" not in shown.text
    assert "/call/start" in customer.get("/call").text


def test_another_representative_sees_nothing(site: Site, desk: Screen, screens: Callable[[], Screen]) -> None:
    """A check is 404 to every other representative, whatever they try, and its customer cannot be taken over."""
    page = started(desk)
    other = signed_in(site, screens(), "bob")
    csrf = re.search('name="csrf" value="([^"]+)"', other.get("/desk").text)
    assert csrf
    fields = {"csrf": csrf[1], "code": "1"}
    answers = [
        other.get(page.url.path),
        other.get(f"{page.url.path}/events"),
        other.client.post(f"{page.url.path}/code", data=fields),
        other.client.post(f"{page.url.path}/end", data=fields),
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert "Another representative" in started(other).text


def test_forms_of_other_sites_are_refused(site: Site, desk: Screen, customer: Screen) -> None:
    """Without the session's own token no form has an effect, on either side."""
    page = started(desk)
    call_id = page.url.path.rpartition("/")[2]
    for csrf in ("", "nonsense", "k1:00"):
        for screen, path, fields in (
            (customer, "/call/start", {}),
            (customer, "/call/answer", {"call": call_id, "heard": "no"}),
            (desk, "/desk/calls", {"account": "x"}),
            (desk, f"{page.url.path}/code", {"code": "1"}),
            (desk, f"{page.url.path}/end", {}),
            (desk, "/desk/sign-out", {}),
        ):
            assert screen.client.post(path, data=fields | {"csrf": csrf}).status_code in (403, 422)
    call = site.checks.get(call_id)
    assert call
    assert (call.status, call.attempts) == ("started", 0)


def test_a_customer_answers_about_their_own_call(site: Site, customer: Screen, desk: Screen) -> None:
    """A form that names another account's check does not affect it."""
    started(desk)
    other = site.checks.start("another", "ann")
    asked = customer.get("/call")
    csrf = re.search('name="csrf" value="([^"]+)"', asked.text)
    assert csrf
    customer.client.post("/call/answer", data={"csrf": csrf[1], "call": other.call_id, "heard": "no"})
    assert site.checks.get(other.call_id) == other


def test_links_open_once_and_get_opens_nothing(site: Site, screens: Callable[[], Screen]) -> None:
    """A GET changes nothing; the first POST opens the link, and no later one does; nothing names the account."""
    path = f"/call/link/{site.checks.new_link(ACCOUNT)}"
    first, second = screens(), screens()
    for screen in (first, second, first):
        assert screen.get(path).status_code == 200
        assert screen.get("/call").status_code == 404
    assert first.client.post(path).status_code == 200
    assert second.client.post(path).status_code == 404
    assert first.client.post("/call/link/" + "x" * 32).status_code == 404
    assert not first.saw(ACCOUNT)


def test_nobody_gets_in_without_a_session(site: Site, screens: Callable[[], Screen], desk: Screen) -> None:
    """Without a session, or with an expired credential or a role without the right, no page shows anything."""
    page = started(desk)
    stranger = screens()
    assert stranger.get("/call").status_code == 404
    assert stranger.get("/call/events").status_code == 204
    assert stranger.get(page.url.path).url.path == "/desk"
    assert stranger.get(f"{page.url.path}/events").status_code == 204
    app = site.credentials.create("app", Role.APP)
    assert stranger.client.post("/desk/sign-in", data={"key": app.api_key}).status_code == 403
    assert stranger.client.post("/desk/sign-in", data={"key": "vdt_1_2"}).status_code == 401
    (credential,) = [c for c in site.credentials.all() if c.role == Role.REPRESENTATIVE]
    site.credentials.revoke(credential.id)
    assert desk.get(page.url.path).url.path == "/desk"
    assert "Sign in" in desk.get("/desk").text


def test_signing_out_ends_the_session(desk: Screen) -> None:
    """After signing out, the cookie has no effect."""
    cookies = dict(desk.client.cookies)
    desk.submit(desk.get("/desk"), "/desk/sign-out")
    desk.client.cookies.update(cookies)
    assert "Sign in" in desk.get("/desk").text


@pytest.mark.parametrize("end", ["sign out", "revoke"])
def test_an_open_page_gets_nothing_after_the_session(site: Site, desk: Screen, end: str) -> None:
    """A stream that is open when its session ends is closed, long before its own end."""
    page = started(desk)
    found = re.search('data-events="([^"]+)"', page.text)
    assert found
    with desk.client.stream("GET", found[1].replace("&amp;", "&")) as stream:
        lines = stream.iter_lines()
        if end == "sign out":
            desk.submit(desk.get("/desk"), "/desk/sign-out")
        else:
            for credential in site.credentials.all():
                site.credentials.revoke(credential.id)
        assert "data:" not in "".join(lines)
    assert desk.client.get(found[1].replace("&amp;", "&")).status_code == 204


def test_a_reset_ends_the_customers_stream(site: Site, customer: Screen) -> None:
    """A customer's page that is open when the account is reset receives nothing more."""
    with customer.client.stream("GET", "/call/events?seen=none") as stream:
        store = site.checks.store
        before = store.account(ACCOUNT)
        assert store.replace_account(before, msgspec.structs.replace(before, epoch=1))
        assert "data:" not in "".join(stream.iter_lines())
    assert customer.get("/call").status_code == 404


def test_pages_speak_spanish_and_are_protected(desk: Screen, customer: Screen) -> None:
    """Every page says the same in Spanish, declares its language, and has the security headers."""
    page = started(desk)
    for screen, path, words in (
        (desk, page.url.path, "Lea este código"),
        (desk, "/desk", "Iniciar la comprobación"),
        (customer, "/call", "¿Es el banco quien le llama?"),
    ):
        shown = screen.client.get(path, headers={"Accept-Language": "es-MX"})
        assert words in shown.text
        assert '<html lang="es">' in shown.text
        assert shown.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert shown.headers["Cache-Control"] == "no-store"
        assert "<script>" not in shown.text
    cookies = [
        line for text in (*desk.received, *customer.received) for line in re.findall("set-cookie': '([^']+)", text)
    ]
    for cookie in cookies:
        assert "HttpOnly" in cookie
