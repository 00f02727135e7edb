"""A working day in a real browser; SCREENSHOTS names a folder for pictures."""

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect

from adapters.http_server import server_config
from stack.process import free_ports
from tests.archive.conftest import decision, payment
from tests.conftest import wait_for
from tests.console.conftest import PASSWORD, Site, alert, opened_site
from vedette.clock import HOUR, MINUTE, SystemClock

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"
WIDE, NARROW = {"width": 1600, "height": 1000}, {"width": 360, "height": 740}


@dataclass
class Office:
    """The console on a port of this machine."""

    site: Site
    url: str
    shots: Path

    def sign_in(self, context: BrowserContext, name: str) -> Page:
        """Sign in as a person does, by keyboard."""
        page = context.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: pytest.fail(f"script of a payment has run: {dialog.message}"))
        page.complaints = complaints  # type: ignore[attr-defined]
        page.goto(self.url)
        for text in (name, PASSWORD, self.site.code(name)):
            page.keyboard.type(text)
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_url(f"{self.url}/queue")
        self.site.clock.now += 30_000
        return page


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """The console with incidents, two analysts and a lead."""
    (port,) = free_ports(1)
    folder, url = tmp_path_factory.mktemp("office"), f"http://localhost:{port}"
    with opened_site(folder, structlog.get_logger("test"), url) as site:
        site.clock.now = now = SystemClock().now_ms()
        for number in range(1, 9):
            site.open(
                alert(number, event_time=now - number * 7 * MINUTE, expected_loss=45_000 * number),
                alert(100 + number, account_id=f"account-{number}", event_time=now - HOUR, action="decline"),
            )
        site.open(
            alert(50, account_id=HOSTILE, payee=HOSTILE, device_id=HOSTILE, reasons=[HOSTILE], expected_loss=999_000)
        )
        for name, role in (("ana", "lead"), ("ben", "analyst")):
            site.accepted(name, role)
        server = uvicorn.Server(server_config(site.console.app, port=port))
        thread = threading.Thread(target=server.run)
        thread.start()
        wait_for(lambda: server.started)
        shots = Path(os.environ.get("SCREENSHOTS", folder))
        shots.mkdir(parents=True, exist_ok=True)
        yield Office(site, url, shots)
        server.should_exit = True
        thread.join()


@pytest.mark.servers
def test_a_day_at_work(office: Office, browser: Browser) -> None:
    """Sign in, take the costliest case, decide it with a key, undo, note, give back; a colleague sees who is there."""
    other = browser.new_context(viewport=NARROW, locale="es-ES", color_scheme="dark")
    ben = office.sign_in(other, "ben")
    desk = browser.new_context(viewport=WIDE, locale="en-GB")
    ana = office.sign_in(desk, "ana")
    expect(ana.get_by_role("heading", name="Queue")).to_be_visible()
    assert ana.locator("[data-row]").count() == 9
    ana.keyboard.press("j")
    ana.keyboard.press("j")
    expect(ana.locator("[data-row].current")).to_contain_text("account-8")
    ana.keyboard.press("n")
    ana.wait_for_url("**/cases/*")
    expect(ana.locator(".case h1")).to_contain_text("<img src=x")
    expect(ana.get_by_text("You work on this case.")).to_be_visible()
    expect(ana.locator("#account")).to_contain_text("There is no archive")

    ben.goto(ana.url)
    expect(ben.get_by_text("ana lleva este caso.")).to_be_visible()
    expect(ben.locator(".presence")).to_have_text("También lo mira: ana")
    assert ben.get_by_role("button", name="Fraude").count() == 0

    ana.keyboard.press("m")
    ana.keyboard.type("called the customer")
    ana.get_by_role("button", name="Add note").click()
    expect(ana.locator(".note")).to_contain_text("called the customer")
    ana.keyboard.press("f")
    expect(ana.locator(".undo")).to_contain_text("confirmed fraud")
    expect(ana.locator(".case h1")).to_contain_text("account-8")
    ana.keyboard.press("u")
    expect(ana.locator(".case h1")).to_contain_text("<img src=x")
    expect(ana.locator(".history")).to_contain_text("undone")
    ana.get_by_role("button", name="Give back").click()
    ana.wait_for_url("**/queue?*")
    assert ana.complaints == []  # type: ignore[attr-defined]
    assert ben.complaints == []  # type: ignore[attr-defined]
    desk.close()
    other.close()


@pytest.mark.servers
def test_the_live_page_follows_and_pauses(office: Office, browser: Browser) -> None:
    """A decision appears by itself; while paused, the page stays as it is."""
    context = browser.new_context(viewport=WIDE, locale="en-GB")
    page = office.sign_in(context, "ana")
    page.goto(f"{office.url}/live?action=flagged")
    feed = office.site.console.feed
    expect(page.locator("[data-live-state]")).to_have_text("live")
    feed.add([msgspec.json.encode(decision(payment(1), "decline", reasons=[HOSTILE], payee=HOSTILE))])
    expect(page.locator("[data-live] tbody")).to_contain_text("<img src=x")
    page.keyboard.press("p")
    expect(page.locator("[data-live-state]")).to_have_text("paused")
    feed.add([msgspec.json.encode(decision(payment(2), "decline"))])
    assert page.locator("[data-live] tbody tr").count() == 1
    page.keyboard.press("p")
    expect(page.locator("[data-live] tbody tr")).to_have_count(2)
    assert page.complaints == []  # type: ignore[attr-defined]
    context.close()


def violations(page: Page) -> list[Any]:
    """Return what axe-core finds against WCAG 2.2 AA and its best practices."""
    found = Axe().run(page).response["violations"]
    return [(each["id"], [node["target"] for node in each["nodes"]]) for each in found]


@pytest.mark.servers
@pytest.mark.parametrize(("size", "theme", "language"), [(WIDE, "light", "en"), (NARROW, "dark", "es")])
def test_pages_are_accessible_and_fit(office: Office, browser: Browser, size: Any, theme: Any, language: str) -> None:
    """There is no violation known to axe-core, nothing wider than the screen, and no error in the browser's console."""
    context = browser.new_context(viewport=size, locale=language, color_scheme=theme)
    door = context.new_page()
    door.goto(f"{office.url}/sign-in")
    assert violations(door) == []
    page = office.sign_in(context, "ana")
    for path in ("/queue", "/cases/3", "/find", "/find?q=x", "/live", "/audit", "/roles", "/me", "/nowhere"):
        page.goto(f"{office.url}{path}")
        if path.startswith("/cases"):
            page.locator("#involved, #account .hint").first.wait_for()
        assert violations(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
    page.goto(f"{office.url}/queue")
    page.locator("input[name=chosen]").nth(1).check()
    page.get_by_role("button", name="Close together" if language == "en" else "Cerrar juntos").click()
    page.wait_for_url("**/queue/bulk")
    assert violations(page) == []
    assert [text for text in page.complaints if "404" not in text] == []  # type: ignore[attr-defined]
    context.close()
