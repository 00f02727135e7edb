"""Attacks by publishing decisions or naming payees, each with the outcome that must hold."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from fastapi.testclient import TestClient

from challenges.decision_consumer import binding_of
from challenges.state_machine import LIFETIME
from stack.redis_server import RedisKind
from stack.sms import SmsSink
from tests.challenges.conftest import Dial, binding, enrol
from tests.challenges.whole import Whole, whole_service
from tests.shared_servers import SharedRedis
from vedette.errors import InputError
from vedette.events import Decision

SITE = "https://pay.bank.example"


def decision(**changes: object) -> bytes:
    """Return a decision that asks for a challenge, as it is on the topic; keywords change it."""
    fields: dict[str, object] = {
        "transaction_id": "t-1", "account_id": "a-1", "event_time": 1_700_000_000_000, "amount": 12_345,
        "currency": "EUR", "action": "challenge", "score": 0.5, "expected_loss": 6_000, "reasons": [], "rules": [],
        "model": "m@1", "policy": "p@1", "features_hash": "h", "payee": "Shop & Co",
    }  # fmt: skip
    return msgspec.json.encode(fields | changes)


def with_field(text: bytes) -> bytes:
    """Return a decision with one additional, unknown field."""
    return decision()[:-1] + b',"more":' + text + b"}"


@pytest.mark.parametrize(
    "value",
    [
        with_field(b'"\xff"'),
        with_field(b"[" * 100_000 + b"]" * 100_000),
        with_field(b'"' + b"x" * 70_000 + b'"'),
        decision(payee="x").replace(b'"x"', b'"\xff"'),
        decision(payee="x").replace(b'"x"', b'"\\ud800"'),
        decision(amount=-1),
        decision(amount=10**15 + 1),
        decision().replace(b"12345", b"9" * 60),
        decision(currency="ZZZ"),
        decision(account_id=""),
        decision(account_id="a" * 65),
        decision(transaction_id="t" * 65),
        decision(payee="p" * 65),
        b'"challenge"',
    ],
    ids=[
        "not UTF-8 in what is skipped", "nested", "long", "not UTF-8", "half a surrogate pair", "negative", "rich",
        "beyond 64 bits", "currency", "no account", "long account", "long transaction", "long payee", "not an object",
    ],
)  # fmt: skip
def test_no_message_stops_the_reading_of_decisions(value: bytes) -> None:
    """Any message on the topic is a challenge, none, or an InputError: anything else would be read again forever."""
    with pytest.raises(InputError):
        binding_of(value)


def test_a_decision_asks_about_its_payment() -> None:
    """A decision to challenge is bound to its payment; decisions without history, and other actions, ask nothing."""
    assert binding_of(decision()) == binding()
    assert binding_of(decision(degraded=True)) is None
    assert binding_of(decision(action="approve", reasons=["challenge"])) is None
    assert binding_of(b"\xff") is None
    assert msgspec.json.decode(decision(), type=Decision)


@pytest.fixture
def sms(dial: Dial) -> Iterator[SmsSink]:
    """The server that receives SMS."""
    with SmsSink(clock=dial) as sink:
        yield sink


@pytest.fixture
def whole(
    redis_of: Callable[[RedisKind], SharedRedis], topic_prefix: str, dial: Dial, tmp_path: Path, sms: SmsSink
) -> Iterator[Whole]:
    """The whole service except for the broker."""
    with whole_service(redis_of("embedded").url, tmp_path, topic_prefix, SITE, sms, dial) as made:
        yield made


@pytest.mark.parametrize("factors", ["totp", "sms"])
@pytest.mark.parametrize("payee", ["\ufdfa" * 40, "\u3348" * 64, "W" * 64, "ﷺ.", "a\u0301" * 32])
def test_no_name_crowds_the_link_out_of_an_sms(whole: Whole, sms: SmsSink, payee: str, factors: str) -> None:
    """A payee whose name the SMS alphabet expands leaves code and link intact: without them nobody can object."""
    challenges = whole.wired.challenges
    enrol(challenges, totp=factors == "totp")
    challenges.issue(binding(payee=payee))
    assert asyncio.run(whole.wired.notifier.step())
    (message,) = sms.messages
    token = message.body.partition(f"{SITE}/c/")[2][:32]
    assert whole.wired.challenges.follow(token) is not None, message.body


@pytest.mark.parametrize(
    "payee",
    [
        "https://evil.example/pay", "evil.example", "call+34600000009@evil.example", "www\u3002evil\uff61example",
        "\uff45vil\uff0eexample",
    ],
)  # fmt: skip
def test_a_name_is_not_a_link(whole: Whole, sms: SmsSink, payee: str) -> None:
    """No phone makes a link of a payee's name: the only link in the bank's SMS is the bank's."""
    enrol(whole.wired.challenges)
    whole.wired.challenges.issue(binding(payee=payee))
    asyncio.run(whole.wired.notifier.step())
    (message,) = sms.messages
    assert "evil.example" not in message.body
    assert message.body.count("://") == message.body.count(f"{SITE}/c/") == 1


def test_a_name_cannot_turn_the_page_around(whole: Whole) -> None:
    """Characters that reverse or hide text, or break a line, become spaces on the customer's page."""
    challenges = whole.wired.challenges
    enrol(challenges)
    record = challenges.issue(binding(payee="Shop\u202e\u2066\u200b\n<b>\x1b[2J"))
    browser = TestClient(whole.app, base_url=SITE)
    page = browser.post(f"/c/{challenges.new_link(record.challenge_id)}")
    assert "<dd>Shop    &lt;b&gt; [2J</dd>" in page.text


def test_a_currency_that_does_not_exist_is_refused(whole: Whole, dial: Dial) -> None:
    """The API refuses a currency whose amounts cannot be written, on a page or in an SMS."""
    enrol(whole.wired.challenges)
    api = TestClient(whole.app, base_url=SITE, headers={"X-API-Key": whole.api_keys["app"]})
    asked = {"transaction_id": "t-1", "account_id": "a-1", "amount": 1, "currency": "ZZZ", "payee": "Shop"}
    assert api.post("/v1/challenges", json=asked).status_code == 422
    assert api.post("/v1/challenges", json=asked | {"currency": "EUR"}).status_code == 201
    assert asyncio.run(whole.wired.notifier.step())
    dial.now += LIFETIME
    assert whole.wired.challenges.sweep() == 1
