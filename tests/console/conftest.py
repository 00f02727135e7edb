"""What tests of the console share: the app over an empty database, people with sessions, incidents."""

import base64
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pyotp
import pytest
import structlog
from fastapi import Request, Response
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from access.audit import AuditRecord, open_audit, show
from access.keyring import new_key
from adapters.database import open_database
from alerts.incidents import store
from console.accounts.users import User
from console.bootstrap import Console, wire
from console.roles import StaffRole
from tests.conftest import NOW, Dial
from vedette.events import Alert
from vedette.settings import (
    ArchiveSettings,
    AuditSettings,
    ConsoleSettings,
    DatabaseSettings,
    MfaSettings,
    RedisSettings,
    Settings,
)
from vedette.settings_base import Secret

ORIGIN = "http://localhost:8460"
PASSWORD = "a few words in a row"
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
    database: DatabaseSettings | None = None,
) -> Iterator[Site]:  # fmt: skip
    """A console over an empty database, which is in the directory unless another one is given."""
    clock = Dial(NOW)
    settings = Settings(
        database=database or DatabaseSettings(url=f"sqlite:///{directory}/db.sqlite"),
        audit=AuditSettings(path=f"{directory}/audit.jsonl", key=Secret("k" * 64)),
        archive=ArchiveSettings(url=f"{directory}/archive"),
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
