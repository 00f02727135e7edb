"""Attacks on the challenge service, each with the outcome that must hold."""

import asyncio
import base64
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import msgspec
import pytest
from fastapi.testclient import TestClient

from access.audit import AuditRecord
from access.rate_limit import RateLimit, RateLimiter
from challenges import outcome, recovery
from challenges.codes import app_of
from challenges.state_machine import ACCOUNT_FAILURES, LIFETIME, failed
from stack.redis_server import RedisKind
from stack.sms import SmsSink
from tests.challenges.conftest import PHONE, Dial, app_code, binding, enrol, enrolment_link
from tests.challenges.whole import Whole, whole_service
from tests.shared_servers import SharedRedis
from vedette.clock import HOUR, MINUTE
from vedette.events import Alert, Decision, Label

SITE = "https://pay.bank.example"


@dataclass
class Bank:
    """The service, its SMS, and its audit log."""

    whole: Whole
    sms: SmsSink
    audit_file: Path

    def browser(self) -> TestClient:
        """Return a browser without a session."""
        return TestClient(self.whole.app, base_url=SITE)

    def api(self, role: str = "app") -> TestClient:
        """Return a program with a credential."""
        client = self.browser()
        client.headers["X-API-Key"] = self.whole.api_keys[role]
        return client

    def records(self) -> list[AuditRecord]:
        """Return the records of the audit log."""
        return [msgspec.json.decode(line, type=AuditRecord) for line in self.audit_file.read_bytes().splitlines()]


@pytest.fixture
def bank(redis_of: Callable[[RedisKind], SharedRedis], topic_prefix: str, dial: Dial, tmp_path: Path) -> Iterator[Bank]:
    """The whole service except for the broker."""
    with (
        SmsSink(clock=dial) as sms,
        whole_service(redis_of("embedded").url, tmp_path, topic_prefix, SITE, sms, dial) as whole,
    ):
        yield Bank(whole, sms, tmp_path / "audit.jsonl")


def opened(browser: TestClient, url: str) -> httpx2.Response:
    """Follow a link as a person does."""
    return browser.post(url.removeprefix(SITE))


def submit(browser: TestClient, page: httpx2.Response, action: str, **fields: str) -> httpx2.Response:
    """Send a form of the pages with the CSRF value of a page."""
    csrf = re.search(r'name="csrf" value="([^"]*)"', page.text)
    return browser.post(action, data={"csrf": csrf[1] if csrf else ""} | fields)


def code_for(bank: Bank) -> str:
    """Return the code in the last SMS."""
    return re.findall(r"\d{4} \d{4}", bank.sms.messages[-1].body)[-1]


# 1. A reset ends everything that was before it.


def test_a_reset_ends_a_proven_session(bank: Bank, dial: Dial) -> None:
    """An intruder with a proven session can change nothing after a reset, and the customer's new link works."""
    enrol(bank.whole.wired.challenges)
    intruder, customer = bank.browser(), bank.browser()
    page = opened(intruder, enrolment_link(bank.whole.wired))
    page = submit(intruder, page, "/enrol/prove", kind="totp", value=app_code(dial.now))
    pending = submit(intruder, page, "/enrol/totp")
    assert pending.status_code == 200
    assert bank.api().post("/v1/accounts/a-1/reset").status_code == 204
    for action in ("/enrol/totp", "/enrol/totp/confirm", "/enrol/recovery", "/enrol/phone"):
        assert submit(intruder, page, action, value="000000", phone=PHONE).status_code == 403
    assert intruder.get("/enrol").status_code == 404
    fresh = opened(customer, enrolment_link(bank.whole.wired))
    assert submit(customer, fresh, "/enrol/totp").status_code == 200


def test_a_reset_voids_links_made_before(bank: Bank) -> None:
    """Neither an enrolment link nor a link to call checks that was made before a reset opens after it."""
    enrolment, call = enrolment_link(bank.whole.wired), bank.whole.wired.checks.new_link("a-1")
    bank.whole.wired.enrolment.reset("a-1")
    assert opened(bank.browser(), enrolment).status_code == 404
    assert opened(bank.browser(), f"{SITE}/call/link/{call}").status_code == 404


def test_a_reset_voids_pending_secrets(bank: Bank) -> None:
    """A code sent to a phone before a reset adds no phone after it."""
    api = bank.api()
    assert api.post("/v1/accounts/a-1/phone", json={"phone": PHONE}).status_code == 202
    code = code_for(bank)
    assert api.post("/v1/accounts/a-1/reset").status_code == 204
    assert api.post("/v1/accounts/a-1/phone/confirm", json={"code": code}).status_code == 400
    assert bank.whole.wired.enrolment.account("a-1").phone == ""


def test_a_reset_ends_calls_and_challenges_that_are_open_on_screens(bank: Bank) -> None:
    """Pages of a challenge and of a call that were opened before a reset show nothing after it."""
    wired = bank.whole.wired
    enrol(wired.challenges)
    browser = bank.browser()
    token = wired.challenges.new_link(wired.challenges.issue(binding()).challenge_id)
    assert opened(browser, f"{SITE}/c/{token}").status_code == 200
    assert opened(browser, f"{SITE}/call/link/{wired.checks.new_link('a-1')}").status_code == 200
    wired.enrolment.reset("a-1")
    assert [browser.get(path).status_code for path in ("/challenge", "/call")] == [404, 404]
    assert browser.get("/call/events").status_code == 204


def test_a_lost_phone_voids_its_codes_and_sessions(bank: Bank, dial: Dial) -> None:
    """A challenge's code that went to a number approves nothing once the number is removed."""
    wired = bank.whole.wired
    enrol(wired.challenges)
    record = wired.challenges.issue(binding())
    wired.challenges.ask(record.challenge_id, "sms")
    assert asyncio.run(wired.notifier.step())
    code = code_for(bank)
    customer, other = bank.browser(), bank.browser()
    old = opened(other, enrolment_link(wired))
    page = opened(customer, enrolment_link(wired))
    page = submit(customer, page, "/enrol/prove", kind="totp", value=app_code(dial.now))
    assert submit(customer, page, "/enrol/remove", factor="sms").status_code == 200
    assert customer.get("/enrol").status_code == 200, "who made the change goes on"
    assert other.get("/enrol").status_code == 404
    assert submit(other, old, "/enrol/prove", kind="totp", value="000000").status_code == 403
    shown = {"amount": 12_345, "currency": "EUR", "payee": "Shop & Co"}
    answer = {"factor": "sms", "value": code, "shown": shown}
    given = bank.api().post(f"/v1/challenges/{record.challenge_id}/answer", json=answer).json()
    assert given["result"] == "wrong"


def test_a_revoked_credentials_links_and_sessions_end(bank: Bank) -> None:
    """Links made by a stolen credential, and sessions begun with them, end when the credential is revoked."""
    api, browser = bank.api(), bank.browser()
    used = api.post("/v1/accounts/a-1/enrolment-link").json()["url"]
    call = api.post("/v1/call-links", json={"account_id": "a-1"}).json()["url"]
    page = opened(browser, used)
    unused = api.post("/v1/accounts/a-2/enrolment-link").json()["url"]
    bank.whole.wired.credentials.revoke(bank.whole.api_keys["app"].split("_")[1])
    assert submit(browser, page, "/enrol/totp").status_code == 403
    assert opened(bank.browser(), unused).status_code == 404
    assert opened(bank.browser(), call).status_code == 404


# 3. Nobody can use up another's SMS, and who could not be notified is not released.


def test_codes_sent_from_elsewhere_do_not_silence_a_customer(bank: Bank) -> None:
    """However often strangers request codes for a customer's number, the customer's challenge is sent to it."""
    wired = bank.whole.wired
    enrol(wired.challenges)
    for number in range(4):
        for _ in range(6):
            bank.api().post(f"/v1/accounts/stranger-{number}/phone", json={"phone": PHONE})
    before = len(bank.sms.messages)
    assert before <= 10, "a number gets so many codes an hour"
    record = wired.challenges.issue(binding())
    assert asyncio.run(wired.notifier.step())
    assert len(bank.sms.messages) == before + 1
    state = wired.challenges.get(record.challenge_id)
    assert state is not None
    assert state.record.notification == "sent"


def test_refused_sends_are_not_counted(bank: Bank) -> None:
    """A limit that refuses a request leaves the counts of the other limits unchanged."""
    limiter = bank.whole.wired.limiter
    account, number = RateLimit("a", 1, HOUR), RateLimit("n", 2, HOUR)
    assert limiter.reserve([(account, "x"), (number, "p")], 0).refused == ""
    for _ in range(5):
        assert limiter.reserve([(account, "x"), (number, "p")], 0).refused == "a"
    assert limiter.reserve([(account, "y"), (number, "p")], 0).refused == ""
    assert limiter.reserve([(account, "z"), (number, "p")], 0).refused == "n"
    assert limiter.allows(account, "z", 0)


def test_a_window_slides(bank: Bank) -> None:
    """At most the limit falls into any hour, not just any hour of the clock."""
    limiter: RateLimiter = bank.whole.wired.limiter
    limit = RateLimit("slides", 3, HOUR)
    allowed = [time for time in range(HOUR - MINUTE, 3 * HOUR - MINUTE, MINUTE) if limiter.allows(limit, "x", time)]
    assert allowed == [start + minute * MINUTE for start in (HOUR - MINUTE, 2 * HOUR - MINUTE) for minute in range(3)]


def test_a_payment_whose_customer_was_not_notified_is_held(bank: Bank, dial: Dial) -> None:
    """A small payment is not released when the customer could not be notified; an alert says so."""
    wired = bank.whole.wired
    enrol(wired.challenges, phone="+99600000001", totp=False)
    decision = Decision(
        transaction_id="t-1", account_id="a-1", event_time=1, amount=100, currency="EUR", action="challenge", score=0.5,
        expected_loss=50, reasons=["new device"], rules=[], model="m", policy="p", features_hash="f",
    )  # fmt: skip
    record = wired.challenges.issue(binding(amount=100), msgspec.json.encode(decision).decode())
    assert asyncio.run(wired.notifier.step())
    dial.now += LIFETIME
    assert wired.challenges.sweep() == 1
    state = wired.challenges.get(record.challenge_id)
    assert state is not None
    assert (state.record.action, state.record.cause) == ("review", "not notified")
    said = [event for _, event in outcome.settled(state.record)]
    alert = next(event for event in said if isinstance(event, Alert))
    assert alert.action == "review"
    assert "could not be notified" in alert.reasons[0].text
    assert not any(isinstance(event, Label) for event in said)


# 4. Who may change an account is decided when it is changed.


def test_a_session_opened_without_a_factor_may_not_remove_one(bank: Bank) -> None:
    """Of two sessions opened while there was no factor, the second may not change the factor that the first enrols."""
    wired = bank.whole.wired
    first, second = bank.browser(), bank.browser()
    token = wired.enrolment_links.make("a-1", "")
    page = opened(first, f"{SITE}/e/{token}")
    other = opened(second, f"{SITE}/e/{wired.enrolment_links.make('a-1', '')}")
    submit(first, page, "/enrol/phone", phone=PHONE)
    assert submit(first, page, "/enrol/phone/confirm", value=code_for(bank)).status_code == 200
    for action in ("/enrol/remove", "/enrol/totp", "/enrol/recovery"):
        assert submit(second, other, action, factor="sms").status_code == 403
    assert wired.enrolment.account("a-1").factors == ("sms",)
    assert "show that it is you" in second.get("/enrol").text
    assert submit(first, page, "/enrol/totp").status_code == 200, "the first has shown that the phone is theirs"


@pytest.mark.parametrize("what", ["totp", "phone"])
def test_what_was_begun_before_the_first_factor_is_not_confirmed_after_it(bank: Bank, dial: Dial, what: str) -> None:
    """A program begins to enrol the first factor of an account; once the customer has one, it needs proof to go on."""
    api, account = bank.api(), "/v1/accounts/a-1"
    body = {"phone": PHONE} if what == "phone" else {}
    begun = api.post(f"{account}/{what}", json=body)
    enrol(bank.whole.wired.challenges, phone="+34600000007")
    secret = begun.json()["secret"] if what == "totp" else ""
    code = app_of(base64.b32decode(secret)).at(dial.now // 1000) if what == "totp" else code_for(bank)
    assert api.post(f"{account}/{what}/confirm", json={"code": code}).status_code == 403
    dial.now += MINUTE
    proof = {"proof": {"kind": "totp", "value": app_code(dial.now)}}
    begun = api.post(f"{account}/{what}", json=body | proof)
    secret = begun.json()["secret"] if what == "totp" else ""
    code = app_of(base64.b32decode(secret)).at(dial.now // 1000) if what == "totp" else code_for(bank)
    assert api.post(f"{account}/{what}/confirm", json={"code": code}).status_code == 200


def test_an_account_has_one_live_enrolment_link(bank: Bank) -> None:
    """A new link voids the previous one."""
    older, newer = enrolment_link(bank.whole.wired), enrolment_link(bank.whole.wired)
    assert opened(bank.browser(), older).status_code == 404
    assert opened(bank.browser(), newer).status_code == 200


# 5. Guesses at recovery codes cost nothing.


def test_a_wrong_recovery_code_costs_no_slow_hash(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guess is counted and refused without any slow hash; a right code costs one slow hash."""
    wired = bank.whole.wired
    shown = wired.enrolment.new_recovery_codes(wired.enrolment.trusted("a-1", ""))
    hashed: list[str] = []
    verifies = recovery._verifies

    def counted(stored: str, code: str) -> bool:
        hashed.append(code)
        return verifies(stored, code)

    monkeypatch.setattr(recovery, "_verifies", counted)
    for _ in range(ACCOUNT_FAILURES - 1):
        assert not wired.enrolment.prove("a-1", "recovery", "aaaaa-aaaaa")
    assert hashed == []
    assert wired.enrolment.prove("a-1", "recovery", shown[7])
    assert len(hashed) == 1
    account = wired.enrolment.account("a-1")
    assert (len(account.recovery), account.failures) == (9, ACCOUNT_FAILURES - 1)
    assert not wired.enrolment.prove("a-1", "recovery", shown[7])
    assert not wired.enrolment.prove("a-1", "recovery", shown[6]), "the account is locked"


def test_new_recovery_codes_are_limited(bank: Bank) -> None:
    """Nobody can keep the machine busy by generating codes."""
    statuses = [bank.api().post("/v1/accounts/a-1/recovery-codes", json={}).status_code for _ in range(7)]
    assert statuses == [201] * 5 + [429] * 2


# 7. Pages of other sites, and links passed on.


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}]
)
def test_another_site_gives_nobody_a_session(bank: Bank, headers: dict[str, str]) -> None:
    """A form on another site that opens a link is refused, and the link remains valid."""
    url = enrolment_link(bank.whole.wired)
    refused = bank.browser().post(url.removeprefix(SITE), headers=headers)
    assert (refused.status_code, refused.cookies) == (403, {})
    assert opened(bank.browser(), url).status_code == 200


def test_pages_say_whose_they_are(bank: Bank) -> None:
    """Pages of enrolment and of calls show the end of the account id, so that a customer notices a forwarded link."""
    wired, account = bank.whole.wired, "ES9121000418450200051332"
    page = opened(bank.browser(), enrolment_link(wired, account))
    call = opened(bank.browser(), f"{SITE}/call/link/{wired.checks.new_link(account)}")
    for shown in (page.text, call.text):
        assert "…1332" in shown
        assert account not in shown


# 8. The audit log says who.


def test_the_actor_is_the_credential_and_subjects_are_typed(bank: Bank) -> None:
    """What an app does is recorded under its credential's id, and every subject has the form kind:id."""
    app = bank.whole.api_keys["app"].split("_")[1]
    api = bank.api()
    api.post("/v1/accounts/a-1/phone", json={"phone": PHONE})
    api.post("/v1/accounts/a-1/phone/confirm", json={"code": code_for(bank)})
    issued = api.post("/v1/challenges", json=msgspec.to_builtins(binding())).json()["challenge_id"]
    api.post(f"/v1/challenges/{issued}/ask", json={"factor": "sms"})
    api.post(f"/v1/challenges/{issued}/link")
    shown = {"amount": 12_345, "currency": "EUR", "payee": "Shop & Co"}
    api.post(f"/v1/challenges/{issued}/answer", json={"factor": "sms", "value": "1", "shown": shown})
    api.post("/v1/accounts/a-1/reset")
    link = api.post("/v1/accounts/a-1/enrolment-link").json()["url"]
    opened(bank.browser(), link)
    records = bank.records()
    done = {record.event: record for record in records if not record.event.startswith("access.")}
    assert {"enrolment.changed", "challenge.asked", "link.made", "challenge.wrong", "enrolment.link"} <= set(done)
    assert {record.actor for record in done.values()} == {app}
    assert done["enrolment.link"].subject == "account:a-1"
    assert done["challenge.wrong"].subject == f"challenge:{issued}"
    assert all(re.fullmatch(r"[a-z]+:.+", record.subject) for record in records)
    state = bank.whole.wired.challenges.get(issued)
    assert state is not None
    assert state.record.issued_by == app


# 9. No input is an error of the service, and nothing secret comes back.

ODD = ["\ud800", "\x00", "a\x00b", "é" * 32, "k1:é", "\u202e", "x" * 5000, "-1", "NaN", "{}", "[]", "%", "%00", "'\"<>"]


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_no_field_of_a_form_is_an_error(bank: Bank, odd: str) -> None:
    """Whatever any field of any form contains, the status is not 5xx, and the answer does not repeat it as JSON."""
    enrol(bank.whole.wired.challenges)
    browser = bank.browser()
    opened(browser, enrolment_link(bank.whole.wired))
    token = bank.whole.wired.challenges.new_link(bank.whole.wired.challenges.issue(binding()).challenge_id)
    opened(browser, f"{SITE}/c/{token}")
    text = odd.encode("utf-8", "surrogatepass")
    names = ("csrf", "shown", "factor", "value", "call", "heard", "account", "key", "code", "kind", "phone")
    names += ("grant_type", "client_id", "client_secret", "scope")
    body = "&".join(f"{name}=" + "".join(f"%{byte:02x}" for byte in text) for name in names)
    for route in sorted(bank.whole.routes()):
        method, _, path = route.partition(" ")
        if method != "POST" or "/v1/" in path:
            continue
        bank.whole.clock.now += MINUTE
        path = re.sub(r"\{\w+\}", "x" * 32, path)
        got = browser.post(path, content=body, headers={"Content-Type": "application/x-www-form-urlencoded"})
        assert got.status_code < 500, (path, got.text)
        assert "strict-transport-security" in got.headers


@pytest.mark.parametrize(
    "header", ["Basic é", "Basic \xff\xfe", "Basic ::::", "Basic " + "A" * 400, "Bearer é", "Bearer a.b.c", "é", ""]
)
def test_no_authorization_is_an_error(bank: Bank, header: str) -> None:
    """A header that is not text, base64 or a token is refused, and has no other effect."""
    for path in ("/oauth/token", "/v1/challenges"):
        got = bank.browser().post(
            path, headers={"Authorization": header.encode("latin-1", "replace"), "X-API-Key": b"vdt_\xe9_\xe9"},  # type: ignore[dict-item]
            data={"grant_type": "client_credentials"},
        )  # fmt: skip
        assert got.status_code in (400, 401, 415, 422)


def test_a_refused_request_does_not_repeat_its_code(bank: Bank) -> None:
    """A code or a key in an invalid request is in no answer."""
    api, secret = bank.api(), "48217730" * 20
    shown = {"amount": 1, "currency": "EUR", "payee": "x"}
    answers = [
        api.post(f"/v1/challenges/0{'a' * 24}/answer", json={"factor": "totp", "value": [secret], "shown": shown}),
        api.post("/v1/accounts/a-1/phone/confirm", json={"code": {"x": secret}}),
        api.post("/v1/accounts/a-1/phone/confirm", json={"code": "1", secret: 1}),
        bank.browser().post("/desk/sign-in", data={"key": secret}),
    ]
    assert [got.status_code for got in answers] == [422] * 4
    assert not any(secret[:8] in got.text for got in answers)


@pytest.mark.parametrize("path", ["/static/%00", "/static/..%2f..%2fetc", "/c/%00", "/e/%ff", "//evil.example", "/%5c"])
def test_no_path_is_an_error(bank: Bank, path: str) -> None:
    """Odd paths are answered, and lead nowhere."""
    got = bank.browser().get(path, follow_redirects=False)
    assert got.status_code < 500
    assert "evil" not in got.headers.get("location", "")


# 10. What is over is over.


def test_a_locked_account_is_not_unlocked_by_a_right_answer(bank: Bank, dial: Dial) -> None:
    """A proof is counted before it is checked, so parallel guesses cannot outrun the lock."""
    wired = bank.whole.wired
    account = enrol(wired.challenges)
    locked = account
    for _ in range(ACCOUNT_FAILURES):
        locked = failed(locked, dial.now)
    assert wired.challenges.store.replace_account(account, locked)
    assert not wired.enrolment.prove("a-1", "totp", app_code(dial.now))
    assert wired.enrolment.account("a-1") == locked


def test_a_label_and_an_alert_say_where_the_payment_came_from(bank: Bank) -> None:
    """The label after "this was not me" has the address and all other fields, like the label of an analyst."""
    wired = bank.whole.wired
    enrol(wired.challenges)
    origin = {"merchant_id": "m-1", "device_id": "d-1", "ip_address": "192.0.2.7"}
    decision = Decision(
        transaction_id="t-1", account_id="a-1", event_time=1, amount=12_345, currency="EUR", action="challenge",
        score=0.5, expected_loss=50, reasons=[], rules=[], model="m", policy="p", features_hash="f",
        channel="online", country="NG", **origin,
    )  # fmt: skip
    record = wired.challenges.issue(binding(), msgspec.json.encode(decision).decode())
    _, denied = wired.challenges.deny(record.challenge_id)
    said = [event for _, event in outcome.settled(denied)]
    label = next(event for event in said if isinstance(event, Label))
    alert = next(event for event in said if isinstance(event, Alert))
    assert {name: getattr(label, name) for name in origin} == origin
    assert {name: getattr(alert, name) for name in origin} == origin
    assert (alert.channel, alert.country) == ("online", "NG")
