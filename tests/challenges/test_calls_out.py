"""Call checks with everything around them: outcomes on a real topic, and the link sent to a phone by SMS."""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
import structlog
from fastapi.testclient import TestClient

from access.audit import open_audit
from access.keyring import new_key
from access.roles import Role
from adapters.http_server import Readiness
from adapters.kafka_producer import EventProducer
from challenges.bootstrap import ChallengeService, wire
from challenges.calls.outbox_relay import CallRelay
from challenges.calls.state_machine import ATTEMPTS, LIFETIME
from stack.sms import SmsSink
from streams.history.run_output import Topics
from tests.challenges.conftest import PHONE, Dial
from tests.conftest import wait_for
from vedette.events import CallCheck
from vedette.settings import AuditSettings, DatabaseSettings, MfaSettings, Settings, TwilioSettings
from vedette.settings_base import Secret
from vedette.topics import Name

ANN, ACCOUNT, OTHER = "ann", "a-1", "a-2"
URL = "http://localhost:8470"


@dataclass
class Bank:
    """The service, connected to a broker, a Redis and an SMS server, and its clock."""

    settings: Settings
    wired: ChallengeService
    dial: Dial
    sms: SmsSink

    def published(self) -> list[CallCheck]:
        """Return all outcomes on the topic."""
        with closing(Topics(self.settings)) as topics:
            messages = topics.messages(Name.CALLS)
        assert {message.key() for message in messages} <= {ACCOUNT.encode()}
        return [msgspec.json.decode(message.value(), type=CallCheck) for message in messages]


@pytest.fixture
def bank(settings: Settings, tmp_path: Path) -> Iterator[Bank]:
    """One account has a verified phone, another one has none."""
    dial = Dial()
    with SmsSink() as sms:
        settings = msgspec.structs.replace(
            settings,
            database=DatabaseSettings(url=f"sqlite:///{tmp_path / 'alerts.sqlite'}"),
            audit=AuditSettings(path=str(tmp_path / "audit.jsonl"), key=Secret("k" * 32)),
            twilio=TwilioSettings(account_sid=sms.account_sid, auth_token=Secret(sms.auth_token), base_url=sms.url),
            mfa=MfaSettings(
                keys=Secret(new_key("k1", os.urandom)), sms_from="+14155550100", sms_prefixes=["+34"], public_url=URL,
                sms_per_hour=2,
            ),
        )  # fmt: skip
        with (
            open_audit(settings.audit, dial, "mfa") as audit,
            wire(settings, clock=dial, entropy=os.urandom, audit=audit, log=structlog.get_logger()) as wired,
        ):
            wired.enrolment.vouch(wired.enrolment.trusted(ACCOUNT, ""), phone=PHONE, language="es")
            yield Bank(settings, wired, dial, sms)


@pytest.fixture
def relay(bank: Bank) -> Iterator[None]:
    """Expires checks and publishes outcomes in a thread, as in the service."""
    stop = threading.Event()
    thread = threading.Thread(
        target=CallRelay(bank.wired.checks, EventProducer(bank.settings), Readiness(), structlog.get_logger()).run,
        args=(stop,),
    )
    thread.start()
    yield
    stop.set()
    thread.join()


@pytest.mark.usefixtures("relay")
@pytest.mark.parametrize(
    ("outcome", "attempts"), [("verified", 1), ("blocked", ATTEMPTS), ("denied", 0), ("expired", 0), ("cancelled", 0)]
)
def test_how_a_check_ended_is_published_once(bank: Bank, outcome: str, attempts: int) -> None:
    """A check verified after a mistake, mismatched, denied, expired or ended is on the topic once, without a code."""
    checks, dial = bank.wired.checks, bank.dial
    call = checks.start(ACCOUNT, ANN)
    began = dial.now
    dial.now += 1000
    if outcome == "denied":
        checks.dispute(call.call_id)
    elif outcome == "cancelled":
        checks.cancel(call.call_id, ANN)
    elif outcome == "expired":
        dial.now += LIFETIME
    else:
        heard = checks.hear(call.call_id)
        assert heard is not None
        for _ in range(attempts):
            checks.check_code(call.call_id, ANN, "not it")
        checks.check_code(call.call_id, ANN, checks.customer_view(heard).code_b)
    wait_for(lambda: bank.published() != [])
    (event,) = bank.published()
    assert (event.status, event.attempts, event.direction, event.representative) == (outcome, attempts, "bank", ANN)
    assert (event.call_id, event.account_id, event.started_at) == (call.call_id, ACCOUNT, began)
    assert event.settled_at == dial.now


def test_the_link_comes_by_sms_and_opens_the_page(bank: Bank) -> None:
    """The customer's phone gets a link, in their language and without any code, which leads to the open check."""
    app = TestClient(bank.wired.app, base_url=URL)
    key = bank.wired.credentials.create("Ann", Role.REPRESENTATIVE).api_key
    made = app.post("/v1/calls", json={"account_id": ACCOUNT}, headers={"X-API-Key": key}).json()
    answer = app.post(f"/v1/calls/{made['call_id']}/invite", headers={"X-API-Key": key})
    assert answer.status_code == 202
    (message,) = bank.sms.messages
    assert message.to == PHONE
    assert "Compruebelo" in message.body
    (path,) = re.findall(rf"{URL}(/call/link/\S+)", message.body)
    assert path not in answer.text
    assert not re.search(r"\d{4}", message.body.replace(path, "").replace(URL, ""))
    page = app.post(path)
    assert page.url.path == "/call"
    code = made["code_a"]
    assert f"{code[:4]} {code[4:]}" in page.text
    assert app.post(path).status_code == 404


def test_no_link_where_none_may_go(bank: Bank) -> None:
    """No phone, a number at its hourly limit, or a check that is over: no SMS is sent."""
    checks = bank.wired.checks
    assert not checks.invite(checks.start(OTHER, ANN))
    call = checks.start(ACCOUNT, ANN)
    assert [checks.invite(call) for _ in range(3)] == [True, True, False]
    cancelled = checks.cancel(call.call_id, ANN)
    assert cancelled is not None
    assert not checks.invite(cancelled)
    assert len(bank.sms.messages) == 2
