"""Both sides of a call check in a real browser; SCREENSHOTS names a folder for pictures."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from challenges.calls.state_machine import LIFETIME
from stack.redis_server import RedisKind
from tests.challenges.calls.conftest import listening, served
from tests.challenges.whole import Whole, whole_service
from tests.shared_servers import SharedRedis

PHONE_SIZE = {"width": 390, "height": 780}
DESK_SIZE = {"width": 900, "height": 620}


@dataclass
class Screens:
    """The representative's screen and the customer's phone, both served by the service."""

    whole: Whole
    desk: Page
    phone: Page
    shots: Path

    def keep(self, name: str) -> None:
        """Take a picture of one side."""
        self.desk.screenshot(path=self.shots / f"call-{name}-desk.png")
        self.phone.screenshot(path=self.shots / f"call-{name}-customer.png")

    def start(self) -> None:
        """The representative starts a check of the customer's account."""
        self.desk.get_by_label("Account").fill("a-1001")
        self.desk.get_by_role("button", name="Start the check").click()

    def code(self, page: Page) -> str:
        """Return the code that a page shows."""
        return page.locator(".spoken span").first.inner_text().replace(" ", "")


@pytest.fixture
def screens(
    browser: Browser, redis_of: Callable[[RedisKind], SharedRedis], topic_prefix: str, tmp_path: Path
) -> Iterator[Screens]:
    """Both sides, signed in."""
    with listening() as (listener, url), whole_service(redis_of("embedded").url, tmp_path, topic_prefix, url) as whole:
        shots = Path(os.environ.get("SCREENSHOTS", tmp_path))
        shots.mkdir(parents=True, exist_ok=True)
        contexts: list[BrowserContext] = []

        def page(size: dict[str, int]) -> Page:
            contexts.append(browser.new_context(viewport=size, locale="en-GB"))  # type: ignore[arg-type]
            return contexts[-1].new_page()

        with served(whole.app, listener):
            made = Screens(whole, page(DESK_SIZE), page(PHONE_SIZE), shots)
            made.desk.goto(f"{url}/desk")
            made.desk.get_by_label("Your access key").fill(whole.api_keys["representative"])
            made.desk.get_by_role("button", name="Sign in").click()
            made.phone.goto(f"{url}/call/link/{whole.wired.checks.new_link('a-1001')}")
            made.phone.get_by_role("button", name="Continue").click()
            yield made
            for context in contexts:
                context.close()


def test_both_screens_move_together(screens: Screens) -> None:
    """Neither page is ever reloaded by hand, and each shows what the other side has just done, up to the end."""
    desk, phone = screens.desk, screens.phone
    expect(phone.get_by_role("heading", name="There is no call to check")).to_be_visible()
    screens.start()
    expect(phone.get_by_role("heading", name="Is it the bank that is calling you?")).to_be_visible()
    assert screens.code(phone) == screens.code(desk)
    screens.keep("started")
    phone.get_by_role("button", name="I heard exactly this code").click()
    expect(desk.get_by_label("The code that the customer reads out")).to_be_visible()
    code_b = screens.code(phone)
    desk.get_by_label("The code that the customer reads out").fill("1234 5678")
    desk.get_by_role("button", name="Check", exact=True).click()
    for page in (desk, phone):
        expect(page.get_by_text("Attempts left: 2")).to_be_visible()
    screens.keep("heard")
    assert code_b not in desk.content().replace(" ", "")
    desk.get_by_label("The code that the customer reads out").fill(code_b)
    desk.get_by_role("button", name="Check", exact=True).click()
    for page in (desk, phone):
        expect(page.get_by_role("heading", name="The call is verified")).to_be_visible()
    screens.keep("verified")


def test_a_mismatch_and_an_expiry_show_on_both(screens: Screens) -> None:
    """A customer who heard another code ends the check on both screens; so does the end of its two minutes."""
    screens.start()
    screens.phone.get_by_role("button", name="I heard another code").click()
    for page in (screens.desk, screens.phone):
        expect(page.get_by_role("heading", name="The call is not verified")).to_be_visible()
    screens.keep("denied")
    screens.desk.get_by_role("link", name="Another call").click()
    screens.start()
    expect(screens.phone.get_by_role("heading", name="Is it the bank that is calling you?")).to_be_visible()
    screens.whole.clock.now += LIFETIME
    for page in (screens.desk, screens.phone):
        expect(page.get_by_role("heading", name="The check has expired")).to_be_visible()


def test_a_customer_who_calls_begins(screens: Screens) -> None:
    """The customer starts, waits, and sees the representative arrive without doing anything."""
    screens.phone.get_by_role("button", name="I have called the bank").click()
    expect(screens.phone.get_by_text("Please wait until a representative")).to_be_visible()
    screens.start()
    expect(screens.phone.get_by_role("button", name="I heard exactly this code")).to_be_visible()
    assert screens.code(screens.phone) == screens.code(screens.desk)
