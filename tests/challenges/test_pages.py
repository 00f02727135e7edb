"""The customer's pages and the institution's API, through the real app."""

import asyncio
import base64
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from fastapi.testclient import TestClient

from access.keyring import new_key
from adapters.logs import service_log
from challenges.bootstrap import ChallengeService, wire
from challenges.codes import app_of
from challenges.enrolment import Holder
from challenges.state_machine import LIFETIME
from stack.redis_server import RedisKind
from stack.sms import SmsSink
from tests.challenges.conftest import ORIGIN, PHONE, Dial, Notes, app_code, binding, enrol, enrolment_link
from tests.shared_servers import SharedRedis
from vedette.settings import DatabaseSettings, MfaSettings, RedisSettings, Settings, TwilioSettings
from vedette.settings_base import Secret


def anybody(scope: str) -> object:
    """A guard that admits everybody."""
    del scope
    return lambda: ""


@dataclass
class Desk:
    """The app, a customer's browser, and the phone."""

    wired: ChallengeService
    browser: TestClient
    sms: SmsSink

    def form(self, page: httpx2.Response, action: str) -> dict[str, str]:
        """The hidden fields of a page's form."""
        form = re.search(rf'<form[^>]*action="{action}".*?</form>', page.text, re.DOTALL)
        assert form, f"no form for {action} in {page.text}"
        return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form[0]))

    def opened(self, url: str) -> httpx2.Response:
        """Follow a link as a person does."""
        path = url.removeprefix(ORIGIN)
        assert self.browser.get(path).status_code == 200
        return self.browser.post(path)

    def submit(self, page: httpx2.Response, action: str, **fields: str) -> httpx2.Response:
        """Send a page's form."""
        return self.browser.post(action, data=self.form(page, action) | fields)


@pytest.fixture
def desk(
    redis_of: Callable[[RedisKind], SharedRedis], topic_prefix: str, dial: Dial, notes: Notes, tmp_path: Path
) -> Iterator[Desk]:
    """The whole app except for the broker."""
    with SmsSink(clock=dial) as sms:
        settings = Settings(
            redis=RedisSettings(url=redis_of("embedded").url, prefix=topic_prefix),
            database=DatabaseSettings(url=f"sqlite:///{tmp_path}/alerts.sqlite"),
            twilio=TwilioSettings(account_sid=sms.account_sid, auth_token=Secret(sms.auth_token), base_url=sms.url),
            mfa=MfaSettings(
                keys=Secret(new_key("k1", os.urandom)), sms_from="+14155550100", sms_prefixes=["+34"],
                public_url=ORIGIN, name="Banco & Bank", release=["EUR 30.00"],
            ),
        )  # fmt: skip
        with wire(
            settings, clock=dial, entropy=os.urandom, audit=notes, authorise=anybody, log=service_log("test")
        ) as wired:
            yield Desk(wired, TestClient(wired.app, base_url=ORIGIN), sms)


def asked(desk: Desk) -> httpx2.Response:
    """Open the page of a challenge."""
    record = desk.wired.challenges.issue(binding())
    token = desk.wired.challenges.new_link(record.challenge_id)
    return desk.opened(f"{ORIGIN}/c/{token}")


def status(desk: Desk) -> str:
    """Return the status of the challenge."""
    state = desk.wired.challenges.find(binding())
    assert state is not None
    return state.record.status


def test_a_customer_approves_with_the_app(desk: Desk, dial: Dial) -> None:
    """The page shows amount and payee, escaped, and the app's code approves the payment."""
    enrol(desk.wired.challenges, phone="")
    page = asked(desk)
    assert "123.45 EUR" in page.text
    assert "Shop &amp; Co" in page.text
    done = desk.submit(page, "/challenge/answer", value=app_code(dial.now))
    assert (done.status_code, status(desk)) == (200, "approved")
    assert "goes ahead" in done.text


def test_a_customer_is_told_by_sms_and_approves_with_its_code(desk: Desk) -> None:
    """The SMS has code, amount, payee and link; the code approves. A second code voids the first."""
    enrol(desk.wired.challenges, totp=False)
    desk.wired.challenges.issue(binding())
    assert asyncio.run(desk.wired.notifier.step())
    body = desk.sms.messages[0].body
    assert "123.45 EUR" in body
    assert "Shop & Co" in body
    first = re.findall(r"\d{4} \d{4}", body)[0]
    page = desk.opened(re.findall(r"http\S+", body)[0])
    page = desk.submit(page, "/challenge/ask", factor="sms")
    assert asyncio.run(desk.wired.notifier.step())
    second = re.findall(r"\d{4} \d{4}", desk.sms.messages[1].body)[0]
    assert desk.submit(page, "/challenge/answer", value=first).status_code == 422
    assert desk.submit(page, "/challenge/answer", value=second).status_code == 200
    assert status(desk) == "approved"


def test_get_changes_nothing_and_a_link_opens_once(desk: Desk) -> None:
    """Any number of GETs leaves a link valid; opening it uses it up; all invalid links look alike."""
    enrol(desk.wired.challenges)
    record = desk.wired.challenges.issue(binding())
    path = f"/c/{desk.wired.challenges.new_link(record.challenge_id)}"
    assert "a-1" not in path
    looks = [desk.browser.get(path) for _ in range(3)]
    assert {look.status_code for look in looks} == {200}
    assert "123.45" not in looks[0].text
    assert desk.browser.get("/challenge").status_code == 404
    assert "123.45" in desk.browser.post(path).text
    other = TestClient(desk.wired.app, base_url=ORIGIN)
    used, never = other.post(path), other.post("/c/never-was")
    assert (used.status_code, used.text) == (never.status_code, never.text)
    assert used.status_code == 404


def test_a_form_of_another_site_is_refused(desk: Desk, dial: Dial) -> None:
    """Without the session's CSRF value nothing is accepted, not even a correct code."""
    enrol(desk.wired.challenges)
    page = asked(desk)
    fields = desk.form(page, "/challenge/answer") | {"factor": "totp", "value": app_code(dial.now), "csrf": "k1:00"}
    assert desk.browser.post("/challenge/answer", data=fields).status_code == 403
    assert desk.browser.post("/challenge/deny", data={"csrf": ""}).status_code in (403, 422)
    assert status(desk) == "issued"
    cookie = page.history[0].headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def test_an_edited_form_is_void(desk: Desk, dial: Dial) -> None:
    """The seal of another amount in the form blocks the challenge."""
    enrol(desk.wired.challenges, phone="")
    page = asked(desk)
    other = desk.wired.challenges.shown(desk.wired.challenges.issue(binding()).challenge_id, binding(amount=1))
    done = desk.submit(page, "/challenge/answer", shown=other, value=app_code(dial.now))
    assert status(desk) == "blocked"
    assert "does not go ahead" in done.text


def test_this_was_not_me(desk: Desk) -> None:
    """One button declines."""
    enrol(desk.wired.challenges)
    assert "Thank you for telling us" in desk.submit(asked(desk), "/challenge/deny").text
    assert status(desk) == "denied"


def test_a_page_looked_at_too_late_says_so(desk: Desk, dial: Dial) -> None:
    """After five minutes the page says that the time is over, and has no field to fill in."""
    enrol(desk.wired.challenges)
    asked(desk)
    dial.now += LIFETIME
    page = desk.browser.get("/challenge")
    assert "Time is over" in page.text
    assert "<input" not in page.text


def test_pages_speak_the_customers_language(desk: Desk) -> None:
    """Spanish is chosen by the browser's preference or by the link on the page, and stays chosen."""
    enrol(desk.wired.challenges)
    asked(desk)
    assert "¿Ha hecho usted este pago?" in desk.browser.get("/challenge", headers={"accept-language": "es-AR"}).text
    assert '<html lang="es">' in desk.browser.get("/challenge?lang=es").text
    assert '<html lang="es">' in desk.browser.get("/challenge").text


def test_the_language_changes_after_an_answer_too(desk: Desk) -> None:
    """The links to other languages lead back to the page from which a form was sent."""
    enrol(desk.wired.challenges)
    link = desk.wired.challenges.new_link(desk.wired.challenges.issue(binding()).challenge_id)
    wrong = desk.submit(desk.opened(f"/c/{link}"), "/challenge/answer", value="000000")
    assert wrong.status_code == 422
    spanish = desk.browser.get(f"{wrong.url.path}?lang=es", headers={"Accept": "text/html"})
    assert (spanish.status_code, spanish.url.path) == (200, "/challenge")
    assert "¿Ha hecho usted este pago?" in spanish.text


@pytest.mark.parametrize(("accept", "kind"), [("text/html,*/*;q=0.8", "text/html"), ("*/*", "application/json")])
def test_who_is_refused_is_told_in_their_way(desk: Desk, accept: str, kind: str) -> None:
    """A form without its session is 403 to both: a page in the reader's language to people, JSON to programs."""
    answer = desk.browser.post(
        "/challenge/deny", data={"csrf": "x"}, headers={"Accept": accept, "Accept-Language": "es"}
    )
    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (403, kind)
    assert ("ha caducado" in answer.text) == (kind == "text/html")


def test_an_address_that_posts_too_often_waits(desk: Desk) -> None:
    """Guessing links is stopped after a few tries in a minute."""
    answers = [desk.browser.post(f"/c/guess-{number}").status_code for number in range(61)]
    assert set(answers[:60]) == {404}
    assert answers[60] == 429


@pytest.mark.parametrize("phone", ["+14155550101", PHONE])
def test_an_sms_goes_to_allowed_prefixes_alone(desk: Desk, phone: str) -> None:
    """A number outside the list gets no SMS, and the record says so."""
    enrol(desk.wired.challenges, phone=phone, totp=False)
    record = desk.wired.challenges.issue(binding())
    asyncio.run(desk.wired.notifier.step())
    state = desk.wired.challenges.get(record.challenge_id)
    assert state is not None
    assert (len(desk.sms.messages), state.record.notification) == ((1, "sent") if phone == PHONE else (0, "failed"))


def test_enrolment_begins_with_a_link_and_changing_needs_a_factor(desk: Desk, dial: Dial) -> None:
    """A new customer sets up an app and recovery codes; later changes need the app or a recovery code."""
    page = desk.opened(enrolment_link(desk.wired))
    page = desk.submit(page, "/enrol/totp")
    assert "data:image/svg+xml" in page.text
    secret = re.findall(r'class="secret">(\w+)<', page.text)[0]
    app = app_of(base64.b32decode(secret))
    assert desk.submit(page, "/enrol/totp/confirm", value="000000").status_code == 422
    assert desk.submit(page, "/enrol/totp/confirm", value=app.at(dial.now // 1000)).status_code == 200
    codes = re.findall(r"<li>(\w{5}-\w{5})</li>", desk.submit(desk.browser.get("/enrol"), "/enrol/recovery").text)
    assert len(codes) == 10

    page = desk.opened(enrolment_link(desk.wired))
    csrf = desk.form(page, "/enrol/prove")["csrf"]
    refused = desk.browser.post("/enrol/remove", data={"csrf": csrf, "factor": "totp"})
    assert (refused.status_code, desk.wired.enrolment.account("a-1").factors) == (403, ("totp",))
    used = app.at(dial.now // 1000)
    assert desk.submit(page, "/enrol/prove", kind="totp", value=used).status_code == 422
    assert desk.submit(page, "/enrol/prove", kind="recovery", value=codes[3]).status_code == 200
    assert desk.submit(desk.browser.get("/enrol"), "/enrol/remove", factor="totp").status_code == 200
    account = desk.wired.enrolment.account("a-1")
    assert (account.factors, len(account.recovery)) == ((), 9)


def test_a_phone_is_enrolled_by_the_code_sent_to_it(desk: Desk) -> None:
    """The number counts only once the code that was sent to it has been entered."""
    page = desk.opened(enrolment_link(desk.wired))
    assert desk.submit(page, "/enrol/phone", phone="12").status_code == 422
    page = desk.submit(page, "/enrol/phone", phone="+34 600 000 001")
    assert desk.wired.enrolment.account("a-1").factors == ()
    code = re.findall(r"\d{4} \d{4}", desk.sms.messages[0].body)[0]
    assert desk.submit(page, "/enrol/phone/confirm", value=code).status_code == 200
    assert desk.wired.enrolment.account("a-1").phone == PHONE


def test_an_account_gets_its_share_of_codes_whatever_the_numbers(desk: Desk, dial: Dial) -> None:
    """Trying one number after another sends no more codes than an account may get in an hour."""
    sent = []
    for number in range(12):
        dial.now += 1
        sent.append(desk.wired.enrolment.begin_phone(Holder("a-1", 0, proven=False), f"+346000000{number:02}"))
    assert sent == [True] * 10 + [False] * 2
    assert len(desk.sms.messages) == 10
    assert desk.wired.enrolment.begin_phone(Holder("a-2", 0, proven=False), PHONE)


def test_the_institution_issues_asks_and_answers(desk: Desk, dial: Dial) -> None:
    """By API a challenge is issued once, read, and answered with what was shown; no other payment can replace it."""
    enrol(desk.wired.challenges)
    payment = {"amount": 12_345, "currency": "EUR", "payee": "Shop & Co"}
    about = payment | {"transaction_id": "t-1", "account_id": "a-1"}
    issued = desk.browser.post("/v1/challenges", json=about)
    assert (issued.status_code, desk.browser.post("/v1/challenges", json=about).status_code) == (201, 200)
    path = f"/v1/challenges/{issued.json()['challenge_id']}"
    assert desk.browser.get(path).json()["factors"] == ["totp", "sms"]
    wrong = desk.browser.post(f"{path}/answer", json={"factor": "totp", "value": "000000", "shown": payment}).json()
    assert (wrong["result"], wrong["challenge"]["attempts_left"]) == ("wrong", 4)
    right = {"factor": "totp", "value": app_code(dial.now), "shown": payment}
    assert desk.browser.post(f"{path}/answer", json=right).json()["result"] == "approved"
    assert desk.browser.post("/v1/challenges", json=about | {"payee": "Another"}).status_code == 409
    assert desk.browser.get(f"/v1/challenges/0{'a' * 24}").status_code == 404


def test_by_api_too_changing_a_factor_needs_a_factor(desk: Desk, dial: Dial) -> None:
    """The institution's app cannot change a number without proof, but may reset after a new identification."""
    enrol(desk.wired.challenges)
    path = "/v1/accounts/a-1"
    assert desk.browser.put(f"{path}/contact", json={"phone": "+34600000009"}).status_code == 403
    proof = {"kind": "totp", "value": app_code(dial.now)}
    assert desk.browser.put(f"{path}/contact", json={"phone": "+34600000009", "proof": proof}).status_code == 204
    assert desk.browser.post(f"{path}/totp", json={"proof": proof}).status_code == 403
    assert desk.browser.post(f"{path}/reset").status_code == 204
    assert desk.browser.get(f"{path}/factors").json() == {"factors": [], "passkeys": 0, "recovery_codes_left": 0}


def test_the_openapi_document_has_examples(desk: Desk) -> None:
    """Every field of a request to the API has an example or a fixed set of values."""
    schemas = desk.browser.get("/openapi.json").json()["components"]["schemas"]
    for name in ("ChallengeRequest", "AnswerSubmission", "PhoneChange", "CodeConfirmation"):
        for field, schema in schemas[name]["properties"].items():
            assert schema.keys() & {"examples", "$ref", "anyOf"}, f"{name}.{field}"
