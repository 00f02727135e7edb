"""A payment of one's own making on the console, decided by a real preview service over a real Redis."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from playwright.sync_api import Browser, expect

from adapters.http_server import Readiness
from adapters.http_thread import ServerThread
from console.trial_payment import EXAMPLES, FIELDS, example, payment_of
from decisions.rollout import Rollout, StaticStrategies
from decisions.strategy import Strategy
from features.identity import OPEN
from features.store import RedisStore
from stack.state import StackState
from streams.preview import Previews
from streams.preview_http import build_preview_app
from tests.conftest import SettingsFor
from tests.console.conftest import HOSTILE, NARROW, WIDE, Office, Person, Site, open_office, violations
from vedette.clock import DAY, SystemClock
from vedette.errors import InputError
from vedette.settings import Settings
from vedette.settings_base import Secret

TOKEN = "t" * 32


@pytest.fixture(scope="module")
def deployment(embedded_stack: StackState, settings_for: SettingsFor, strategy: Strategy) -> Iterator[Settings]:
    """A deployment with a preview service, which decides by the demo's model and the shipped policy."""
    settings = settings_for(embedded_stack, "console-score-")
    store = RedisStore(settings.redis)
    previews = Previews(
        store, StaticStrategies(Rollout(strategy)), partitions=settings.topics.partitions,
        prefix=settings.redis.prefix, max_future_ms=60_000, label_delay=settings.features.label_delay, identity=OPEN,
        clock=SystemClock(),
    )  # fmt: skip
    server = ServerThread(build_preview_app(previews, TOKEN, Readiness()), "127.0.0.1", 0, setting="[preview] port")
    preview = msgspec.structs.replace(settings.preview, url=server.url, token=Secret(TOKEN))
    yield msgspec.structs.replace(settings, preview=preview)
    server.close()
    store.close()


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory, deployment: Settings) -> Iterator[Office]:
    """The console of that deployment."""
    with open_office(tmp_path_factory.mktemp("office"), deployment) as opened:
        opened.site.accepted("mia", "model-builder")
        yield opened


def scored(person: Person, site: Site, chosen: str, **changes: str) -> Any:
    """Score an example."""
    return person.post("/score", **example(chosen, site.clock.now) | changes)


def test_an_example_gets_its_decision_with_reasons(office: Office) -> None:
    """Groceries pass; most of a balance does not, for reasons in words, and would at another amount."""
    mia = office.site.person("model-builder", "mia")
    usual = scored(mia, office.site, "usual").text
    assert "approved" in usual
    answer = scored(mia, office.site, "takeover")
    assert answer.status_code == 200
    assert "97% of the balance in one payment" in answer.text
    found = re.search(r"At ([\d,.]+) EUR the customer would be asked; at ([\d,.]+) EUR it is as above", answer.text)
    assert found
    low, high = found[1].replace(",", ""), found[2].replace(",", "")
    assert round(float(high) - float(low), 2) == 0.01
    assert '<span class="tag challenge">' in scored(mia, office.site, "takeover", amount=low).text
    assert '<span class="tag review">' in scored(mia, office.site, "takeover", amount=high).text
    looked = office.site.audited("console.looked")
    assert ("account:example-2", "mia") in [(record.subject, record.actor) for record in looked]


def test_a_preview_has_no_effect(office: Office) -> None:
    """The same payment again gets the same answer."""
    mia = office.site.person("model-builder", "mia")
    texts = {re.sub(r"[0-9a-f]{64}", "", scored(mia, office.site, "scam").text) for _ in range(2)}
    assert len(texts) == 1


@pytest.mark.parametrize("name", ["", *EXAMPLES])
def test_every_example_is_a_payment(name: str) -> None:
    """Its fields are those of the form; the empty form lacks an account."""
    fields = example(name, SystemClock().now_ms())
    assert fields.keys() <= set(FIELDS)
    if not name:
        with pytest.raises(InputError, match="`account_id` is missing"):
            payment_of(fields, "p1")
        return
    payment = payment_of(fields, "p1")
    assert payment.amount == round(float(fields["amount"]) * 100)
    assert payment.event_time < SystemClock().now_ms()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"amount": "12.345"}, "`amount`"), ({"amount": "a"}, "`amount`"), ({"amount": ""}, "`amount` is missing"),
        ({"currency": "XXY"}, "currency"), ({"event_time": "yesterday"}, "`event_time`"),
        ({"payee": "", "merchant_id": ""}, "neither"), ({"country": "Spain"}, "country"), ({"lat": "north"}, "`lat`"),
        ({"ip_address": HOSTILE}, "`ip_address`"), ({"channel": "post"}, "channel"), ({"lat": "nan"}, "lat"),
    ],
)  # fmt: skip
def test_a_field_that_is_not_valid_is_named(shared_site: Site, changes: dict[str, str], why: str) -> None:
    """What was typed is shown again, escaped."""
    answer = scored(shared_site.person("lead"), shared_site, "takeover", **changes)
    assert answer.status_code == 422, answer.text
    assert why in answer.text
    assert "<img" not in answer.text
    assert 'value="payee-unknown"' in answer.text or "payee" in changes


def test_without_a_preview_service_the_page_says_so(shared_site: Site) -> None:
    """How to run it, and a refusal instead of a made-up answer."""
    lead = shared_site.person("lead")
    assert "vedette preview run" in lead.get("/score").text
    answer = scored(lead, shared_site, "usual")
    assert answer.status_code == 503
    assert "no preview service" in answer.text


def test_a_payment_from_the_future_is_refused(office: Office) -> None:
    """In the words of the worker."""
    mia = office.site.person("model-builder", "mia")
    later = f"{SystemClock().now_ms() // DAY // 365 + 1975}-01-01"
    assert scored(mia, office.site, "usual", event_time=later).status_code == 422


@pytest.mark.slow
@pytest.mark.parametrize(("size", "theme", "language"), [(WIDE, "light", "en"), (NARROW, "dark", "es")])
def test_scoring_by_keyboard(office: Office, browser: Browser, size: Any, theme: Any, language: str) -> None:
    """An example, a key, an answer; no violation known to axe-core, and nothing wider than the screen."""
    context = browser.new_context(viewport=size, locale=language, color_scheme=theme)
    page = office.sign_in(context, "mia", "/live")
    page.goto(f"{office.url}/score")
    assert violations(page) == []
    page.get_by_role("link", name="Account taken over" if language == "en" else "Cuenta robada").press("Enter")
    page.wait_for_url("**chosen=takeover")
    page.locator("#amount").press("Enter")
    expect(page.locator("#result ~ .figure")).to_contain_text("0.")
    expect(page.locator("#result ~ .banner")).to_be_visible()
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    office.shoot(page, f"console-score-{language}")
    assert page.complaints == []  # type: ignore[attr-defined]
    context.close()
