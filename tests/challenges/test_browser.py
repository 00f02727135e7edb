"""The pages in a real browser, as customers use them on a phone; SCREENSHOTS names a folder for pictures."""

import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
import uvicorn
from playwright.sync_api import Browser, Page

from access.keyring import new_key
from adapters.logs import service_log
from challenges.bootstrap import ChallengeService, wire
from challenges.state_machine import LIFETIME, State
from stack.process import free_ports
from stack.redis_server import RedisKind
from stack.sms import SmsSink
from tests.challenges.conftest import Dial, Notes, app_code, binding, enrol, enrolment_link
from tests.challenges.test_pages import anybody
from tests.conftest import wait_for
from tests.shared_servers import SharedRedis
from vedette.clock import SystemClock
from vedette.settings import DatabaseSettings, MfaSettings, RedisSettings, Settings, TwilioSettings
from vedette.settings_base import Secret

PHONE_SIZE = {"width": 390, "height": 780}


@dataclass
class Site:
    """The service at its own address, with a phone that receives its SMS."""

    wired: ChallengeService
    url: str
    sms: SmsSink
    clock: Dial
    shots: Path

    def link(self) -> str:
        """Return a link to the page of a new challenge."""
        challenge_id = self.wired.challenges.issue(binding()).challenge_id
        return f"{self.url}/c/{self.wired.challenges.new_link(challenge_id)}"

    def standing(self) -> str:
        """Return the status of the challenge."""
        state = self.wired.challenges.find(binding())
        assert state is not None
        return state.record.status

    def keep(self, page: Page, name: str) -> None:
        """Take a picture."""
        page.screenshot(path=self.shots / f"challenge-{name}.png")


@pytest.fixture
def site(
    redis_of: Callable[[RedisKind], SharedRedis], topic_prefix: str, notes: Notes, tmp_path: Path
) -> Iterator[Site]:
    """The app on a port of this machine, and its SMS sender."""
    redis = redis_of("embedded")  # before a port is looked for: until it listens, its own looks free
    (port,) = free_ports(1)
    url, clock, stop = f"http://localhost:{port}", Dial(SystemClock().now_ms()), threading.Event()
    with SmsSink() as sms:
        settings = Settings(
            redis=RedisSettings(url=redis.url, prefix=topic_prefix),
            database=DatabaseSettings(url=f"sqlite:///{tmp_path}/alerts.sqlite"),
            twilio=TwilioSettings(account_sid=sms.account_sid, auth_token=Secret(sms.auth_token), base_url=sms.url),
            mfa=MfaSettings(
                keys=Secret(new_key("k1", os.urandom)), sms_from="+14155550100", sms_prefixes=["+34"],
                public_url=url, name="Banco Ejemplo",
            ),
        )  # fmt: skip
        with wire(
            settings, clock=clock, entropy=os.urandom, audit=notes, authorise=anybody, log=service_log("test")
        ) as wired:
            server = uvicorn.Server(uvicorn.Config(wired.app, port=port, log_config=None))
            threads = [
                threading.Thread(target=server.run),
                threading.Thread(target=wired.notifier.run, args=(stop,)),
            ]
            for thread in threads:
                thread.start()
            wait_for(lambda: server.started)
            shots = Path(os.environ.get("SCREENSHOTS", tmp_path))
            shots.mkdir(parents=True, exist_ok=True)
            yield Site(wired, url, sms, clock, shots)
            stop.set()
            server.should_exit = True
            for thread in threads:
                thread.join()


@pytest.fixture
def phone(browser: Browser) -> Iterator[Page]:
    """A phone's browser without JavaScript; any error in its console fails the test."""
    context = browser.new_context(viewport=PHONE_SIZE, java_script_enabled=False, locale="en-GB")
    yield context.new_page()
    context.close()


def opened(page: Page, site: Site) -> Page:
    """Open a challenge's page by its link."""
    page.goto(site.link())
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("heading", name="Did you make this payment?").wait_for()
    return page


def test_approved_with_an_app_and_without_javascript(site: Site, phone: Page) -> None:
    """Amount and payee are above the form, whose field has a label; the app's code approves."""
    enrol(site.wired.challenges, phone="")
    page = opened(phone, site)
    assert page.get_by_text("123.45 EUR").is_visible()
    assert page.get_by_text("Shop & Co").is_visible()
    site.keep(page, "totp")
    page.get_by_label("The 6 digits in your authenticator app").fill(app_code(site.clock.now))
    page.get_by_role("button", name="Yes, approve this payment").click()
    page.get_by_role("heading", name="Payment approved").wait_for()
    site.keep(page, "approved")
    assert site.standing() == "approved"


def test_approved_with_the_code_of_an_sms_in_spanish(site: Site, phone: Page) -> None:
    """The message's own link and code suffice, in the language chosen on the page."""
    enrol(site.wired.challenges, totp=False)
    site.wired.challenges.issue(binding())
    wait_for(lambda: bool(site.sms.messages))
    body = site.sms.messages[0].body
    phone.goto(re.findall(r"http\S+", body)[0])
    phone.get_by_role("link", name="Español").click()
    phone.get_by_role("button", name="Continuar").click()
    field = phone.get_by_label("El código enviado al número que termina en 01")
    field.wait_for()
    site.keep(phone, "sms-es")
    field.fill(re.findall(r"\d{4} \d{4}", body)[0])
    phone.get_by_role("button", name="Sí, aprobar este pago").click()
    phone.get_by_role("heading", name="Pago aprobado").wait_for()
    assert site.standing() == "approved"


def test_approved_with_a_passkey(site: Site, browser: Browser) -> None:
    """A passkey made on the enrolment page approves a payment; nothing on the pages violates their own policy."""
    context = browser.new_context(viewport=PHONE_SIZE, locale="en-GB")
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    devtools = context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    devtools.send(
        "WebAuthn.addVirtualAuthenticator",
        {
            "options": {
                "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
                "isUserVerified": True, "automaticPresenceSimulation": True,
            }
        },
    )  # fmt: skip
    page.goto(enrolment_link(site.wired))
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("button", name="Add a passkey").click()
    page.get_by_text("Passkeys on this account: 1").wait_for()
    site.keep(page, "enrolment")
    opened(page, site)
    site.keep(page, "passkey")
    page.get_by_role("button", name="Approve with my passkey").click()
    page.get_by_role("heading", name="Payment approved").wait_for()
    context.close()
    assert (site.standing(), complaints) == ("approved", [])


def test_denied(site: Site, phone: Page) -> None:
    """One press of "this was not me" declines the payment, without any code."""
    enrol(site.wired.challenges, phone="")
    page = opened(phone, site)
    page.get_by_role("button", name="No, this was not me").click()
    page.get_by_role("heading", name="Payment declined").wait_for()
    site.keep(page, "denied")
    assert site.standing() == "denied"


def test_expired(site: Site, phone: Page) -> None:
    """An answer after five minutes is too late, and the page says what happens to the payment."""
    enrol(site.wired.challenges, phone="")
    page = opened(phone, site)
    site.clock.now += LIFETIME
    page.get_by_label("The 6 digits in your authenticator app").fill(app_code(site.clock.now))
    page.get_by_role("button", name="Yes, approve this payment").click()
    page.get_by_role("heading", name="Time is over").wait_for()
    site.keep(page, "expired")
    assert site.standing() == "expired"


def test_an_amount_changed_behind_the_page_approves_nothing(site: Site, phone: Page) -> None:
    """When the stored amount is changed while the customer looks at the page, a right code blocks the payment."""
    enrol(site.wired.challenges, phone="")
    page = opened(phone, site)
    state = site.wired.challenges.find(binding())
    assert state is not None
    edited = msgspec.structs.replace(state.record, binding=binding(amount=999_999))
    assert site.wired.challenges.store.replace(state, State(edited, state.account))
    page.get_by_label("The 6 digits in your authenticator app").fill(app_code(site.clock.now))
    page.get_by_role("button", name="Yes, approve this payment").click()
    page.get_by_role("heading", name="Payment declined").wait_for()
    site.keep(page, "changed")
    assert site.standing() == "blocked"


def test_an_app_is_enrolled_by_its_picture(site: Site, phone: Page) -> None:
    """The page shows a QR code with a text for those who cannot see it, and the secret to type in."""
    phone.goto(enrolment_link(site.wired))
    phone.get_by_role("button", name="Continue").click()
    phone.get_by_role("button", name="Set up an app").click()
    assert phone.get_by_alt_text("QR code for your authenticator app").is_visible()
    site.keep(phone, "qr")
