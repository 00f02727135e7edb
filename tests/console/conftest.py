"""What tests of the console share: the app over an empty database, people with sessions, incidents."""

import base64
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pyotp
import pytest
import structlog
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from fastapi import Request, Response
from fastapi.testclient import TestClient
from playwright.sync_api import BrowserContext, Page
from sqlalchemy import Engine

from access.audit import AuditRecord, open_audit, show
from access.keyring import new_key
from adapters.database import open_database
from adapters.http_server import server_config
from alerts.incidents import store
from console.accounts.users import User
from console.bootstrap import Console, wire
from console.roles import StaffRole
from stack.process import free_ports
from tests.conftest import NOW, Dial, wait_for
from vedette.clock import SystemClock
from vedette.events import Alert
from vedette.settings import (
    ArchiveSettings,
    AuditSettings,
    ConsoleSettings,
    DatabaseSettings,
    KafkaSettings,
    MfaSettings,
    RedisSettings,
    RegistrySettings,
    Settings,
)
from vedette.settings_base import Secret

ORIGIN = "http://localhost:8460"
PASSWORD = "a few words in a row"
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"
WIDE, NARROW = {"width": 1600, "height": 1000}, {"width": 360, "height": 740}
NO_REDIS = RedisSettings(url="redis://127.0.0.1:1/0", timeout_s=0.2)
_CSRF = re.compile(r'name="csrf" value="([0-9a-f]{64})"')


def alert(number: int, **changes: Any) -> Alert:
    """Return an alert of a separate account."""
    fields: dict[str, Any] = {
        "alert_id": f"alert-{number}", "transaction_id": f"t{number}", "account_id": f"account-{number}",
        "event_time": NOW - 60_000, "amount": 123_450, "currency": "EUR", "action": "review", "score": 0.9,
        "expected_loss": 100 * number, "reasons": ["device new to the account"], "payee": f"payee-{number}",
        "device_id": "d1", "ip_address": "10.0.0.1", "channel": "transfer", "country": "ES",
    }  # fmt: skip
    return Alert(**fields | changes)


@dataclass
class Site:
    """The console with its database and clock.

    Attributes:
        codes: The authenticator app of each user who accepted an invitation, by name.
    """

    settings: Settings
    console: Console
    engine: Engine
    clock: Dial
    codes: dict[str, pyotp.TOTP] = field(default_factory=dict)

    def browser(self) -> TestClient:
        """Return a browser without a session."""
        return TestClient(self.console.app, base_url=ORIGIN, follow_redirects=False)

    def user(self, name: str, role: StaffRole | str) -> User:
        """Return a user, created if there is none."""
        known = {user.name: user for user in self.console.users.all()}
        if name not in known:
            self.console.users.add(name, StaffRole(role))
            known = {user.name: user for user in self.console.users.all()}
        return known[name]

    def person(self, role: StaffRole | str = "analyst", name: str = "") -> "Person":
        """Return a person with a session, made without a slow password hash."""
        user = self.user(name or f"a-{role}", role)
        response = Response()
        request = Request({"type": "http", "headers": [], "query_string": b"", "path": "/"})
        self.console.sessions.start(request, response, user)
        browser = self.browser()
        browser.cookies.set("console", re.search(r"console=([^;]+)", response.headers["set-cookie"])[1])  # type: ignore[index]
        return Person(browser, user)

    def accepted(self, name: str, role: StaffRole | str = "analyst") -> None:
        """Return a user who has accepted the invitation."""
        token = self.console.users.add(name, StaffRole(role))
        invitation = self.console.users.invitation(token)
        assert invitation is not None
        self.codes[name] = pyotp.TOTP(base64.b32encode(invitation.secret).decode())
        assert self.console.users.accept(token, PASSWORD, self.code(name))
        self.clock.now += 30_000

    def code(self, name: str) -> str:
        """Return the present code of a user's app."""
        return self.codes[name].at(self.clock.now // 1000)

    def open(self, *alerts: Alert) -> list[int]:
        """Open an incident for each alert."""
        numbers = []
        for each in alerts:
            with self.engine.begin() as connection:
                numbers += store.join(connection, [each], lambda found: found.expected_loss, self.clock.now)
        return numbers

    def audited(self, event: str) -> list[AuditRecord]:
        """Return the records of an event."""
        return show(self.settings.audit, event=event)


@dataclass
class Person:
    """A signed-in person at a browser."""

    browser: TestClient
    user: User

    def get(self, path: str, **more: Any) -> httpx2.Response:
        """Open a page."""
        return self.browser.get(path, **more)

    @property
    def csrf(self) -> str:
        """Return the CSRF value of this session's forms."""
        found = _CSRF.search(self.get("/me").text)
        assert found
        return found[1]

    def post(self, path: str, **fields: Any) -> httpx2.Response:
        """Send a form of this session's pages."""
        return self.browser.post(path, data={"csrf": self.csrf, **fields})


@contextmanager
def opened_site(
    directory: Path, log: Any, url: str = ORIGIN, redis: RedisSettings = NO_REDIS,
    database: DatabaseSettings | None = None, deployment: Settings | None = None,
) -> Iterator[Site]:  # fmt: skip
    """A console over an empty database, which is in the directory unless another one is given.

    Without a deployment there is no broker.
    """
    clock = Dial(NOW)
    settings = msgspec.structs.replace(
        deployment or Settings(kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1")),
        database=database or DatabaseSettings(url=f"sqlite:///{directory}/db.sqlite"),
        audit=AuditSettings(path=f"{directory}/audit.jsonl", key=Secret("k" * 64)),
        archive=ArchiveSettings(url=f"{directory}/archive"),
        registry=RegistrySettings(
            url=f"sqlite:///{directory}/registry.sqlite", artifacts=f"{directory}/models", served=f"{directory}/served"
        ),
        redis=redis,
        mfa=MfaSettings(keys=Secret(new_key("k1", os.urandom))),
        console=ConsoleSettings(public_url=url, name="Example Bank"),
    )
    engine = open_database(settings.database)
    with engine.begin() as connection:
        store.set_ranking_currency(connection, "EUR")
    with (
        open_audit(settings.audit, clock, "console") as audit,
        wire(settings, clock=clock, entropy=os.urandom, audit=audit, log=log) as console,
    ):
        yield Site(settings, console, engine, clock)
    engine.dispose()


@dataclass
class Office:
    """The console on a port of this machine."""

    site: Site
    url: str
    shots: Path

    def sign_in(self, context: BrowserContext, name: str, start: str = "/queue") -> Page:
        """Sign in as a person does, by keyboard."""
        page = context.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: pytest.fail(f"script of a payment has run: {dialog.message}"))
        page.complaints = complaints  # type: ignore[attr-defined]
        page.goto(self.url + ("" if start == "/queue" else start))
        for text in (name, PASSWORD, self.site.code(name)):
            page.keyboard.type(text)
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_url(f"{self.url}{start}")
        self.site.clock.now += 30_000
        return page

    def shoot(self, page: Page, name: str) -> None:
        """Take a picture of what is on the screen."""
        page.evaluate("window.scrollTo(0, 0)")
        page.screenshot(path=self.shots / f"{name}.png")


@contextmanager
def open_office(
    folder: Path, deployment: Settings | None = None, redis: RedisSettings = NO_REDIS, port: int = 0
) -> Iterator[Office]:
    """Serve a console on this machine; SCREENSHOTS names a folder for pictures."""
    port = port or free_ports(1)[0]
    url = f"http://localhost:{port}"
    with opened_site(folder, structlog.get_logger("test"), url, redis, deployment=deployment) as site:
        site.clock.now = SystemClock().now_ms()
        server = uvicorn.Server(server_config(site.console.app, port=port))
        thread = threading.Thread(target=server.run)
        thread.start()
        wait_for(lambda: server.started)
        shots = Path(os.environ.get("SCREENSHOTS", folder))
        shots.mkdir(parents=True, exist_ok=True)
        yield Office(site, url, shots)
        server.should_exit = True
        thread.join()


def violations(page: Page) -> list[Any]:
    """Return what axe-core finds against WCAG 2.2 AA and its best practices."""
    found = Axe().run(page).response["violations"]
    return [(each["id"], [node["target"] for node in each["nodes"]]) for each in found]


@pytest.fixture
def site(tmp_path: Path, log: Any) -> Iterator[Site]:
    """A console of this test's own."""
    with opened_site(tmp_path, log) as opened:
        yield opened


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A console for the tests of a module that only read."""
    with opened_site(tmp_path_factory.mktemp("console"), structlog.get_logger("test")) as opened:
        opened.open(alert(1))
        yield opened
