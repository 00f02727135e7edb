import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from adapters.channels.channel import LONGEST_WAIT_MS, Permanent, Retry, SendOutcome, Sent, Unknown
from adapters.channels.message import Message
from adapters.channels.webhook import ID, SIGNATURE, outcome_of, sign, signing_key
from tests.alerts.conftest import opened
from tests.alerts.desks import KEY, WebhookDesk


@pytest.fixture
def hook(dial: Any) -> Iterator[WebhookDesk]:
    """A webhook with its server."""
    with WebhookDesk(dial) as desk:
        yield desk


def send(desk: WebhookDesk, message: Message) -> SendOutcome:
    """Send one message."""

    async def go() -> SendOutcome:
        async with opened(desk) as channel:
            outcome: SendOutcome = await channel.send(message, desk.target)
            return outcome

    return asyncio.run(go())


SPECIFIED = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""The secret of the example in the specification."""


def signed_at(body: bytes, age_s: int = 0) -> dict[str, str]:
    """Return the headers of a body signed some seconds ago, by the clock that a receiver's library uses."""
    return sign("m-1", int(datetime.now(UTC).timestamp()) - age_s, body, signing_key(KEY))


def test_a_receivers_library_accepts_what_was_signed() -> None:
    """A post is accepted by the reference library of Standard Webhooks, and so is the example of its specification."""
    body = b'{"test": 2432232314}'
    assert Webhook(KEY).verify(body, signed_at(body)) == {"test": 2432232314}
    known = sign(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body, signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    )
    assert known[SIGNATURE] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_post_is_signed_for_now(hook: WebhookDesk, message: Callable[..., Message], dial: Any) -> None:
    """A receiver can check the body as it arrived, with the key and its own clock."""
    dial.now = int(datetime.now(UTC).timestamp() * 1000)
    send(hook, message(hook))
    ((headers, body),) = hook.sink.posts
    assert body.decode() == message(hook).data
    assert Webhook(KEY).verify(body, headers) == json.loads(body)


def test_a_retry_is_signed_again(hook: WebhookDesk, message: Callable[..., Message], dial: Any) -> None:
    """An hour later the same message has the same id and a signature of that hour, so it does not look replayed."""
    dial.now = int(datetime.now(UTC).timestamp() * 1000) - 3_600_000
    send(hook, message(hook))
    dial.now += 3_600_000
    send(hook, message(hook))
    (old, body), (new, _) = hook.sink.posts
    assert Webhook(KEY).verify(body, new)
    with pytest.raises(WebhookVerificationError):
        Webhook(KEY).verify(body, old)
    assert old[ID] == new[ID]


@given(body=st.binary(min_size=1, max_size=200), place=st.integers(0), flip=st.integers(1, 255))
def test_any_change_of_body_key_id_or_time_is_noticed(body: bytes, place: int, flip: int) -> None:
    """One changed byte is enough."""
    key, at = signing_key(KEY), place % len(body)
    signature = sign("m-1", 1, body, key)[SIGNATURE]
    changed = body[:at] + bytes([body[at] ^ flip]) + body[at + 1 :]
    assert sign("m-1", 1, changed, key)[SIGNATURE] != signature
    assert sign("m-1", 1, body, key + b"x")[SIGNATURE] != signature
    assert sign("m-2", 1, body, key)[SIGNATURE] != signature
    assert sign("m-1", 2, body, key)[SIGNATURE] != signature


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "a-key-of-sixteen-characters", KEY.removeprefix("whsec_"), "whsec_c2hvcnQ=", "whsec_?"]
)
def test_a_secret_of_another_form_is_refused(secret: str) -> None:
    """A secret has its prefix and at least 24 bytes in base64."""
    with pytest.raises(ValueError, match="whsec_"):
        signing_key(secret)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(200, Sent), (204, Sent), (302, Permanent), (400, Permanent), (404, Permanent), (410, Permanent),
     (408, Retry), (429, Retry), (503, Retry), (500, Unknown), (502, Unknown), (504, Unknown)],
)  # fmt: skip
def test_every_status_has_its_meaning(
    hook: WebhookDesk, message: Callable[..., Message], status: int, kind: type[Any]
) -> None:
    """Accepted, to be sent again, refused or unknown; a redirect is not followed with a signed body."""
    hook.sink.answers.append((status, False, b""))
    assert isinstance(send(hook, message(hook)), kind)


@pytest.mark.parametrize(
    ("asked", "after_ms"),
    [
        ("7", 7_000), ("999999999", LONGEST_WAIT_MS), ("9" * 5_000, LONGEST_WAIT_MS), ("\u00b2", 0), ("-5", 0), ("", 0),
        ("Wed, 21 Oct 2099 07:28:00 GMT", 0),
    ],
)  # fmt: skip
def test_a_receiver_cannot_silence_the_channel(asked: str, after_ms: int) -> None:
    """A requested wait is limited to some minutes, since it affects all receivers; anything but seconds is ignored."""
    answer = requests.Response()
    answer.status_code = 503
    answer.headers["Retry-After"] = asked
    assert outcome_of(answer, "m-1") == Retry("503", "the webhook answered 503", after_ms=after_ms)
