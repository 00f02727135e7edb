"""A working day in a real browser; SCREENSHOTS names a folder for pictures."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from playwright.sync_api import Browser, expect

from tests.archive.conftest import decision, payment
from tests.console.conftest import HOSTILE, NARROW, WIDE, Office, alert, open_office, violations
from vedette.clock import HOUR, MINUTE


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """The console with incidents, an analyst and a lead."""
    with open_office(tmp_path_factory.mktemp("office")) as opened:
        site, now = opened.site, opened.site.clock.now
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
        yield opened


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
