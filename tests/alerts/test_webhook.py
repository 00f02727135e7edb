import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.notify.channel import Outcome, Permanent, Retry, Sent, Unknown
from alerts.notify.message import Message
from alerts.notify.webhook import SIGNATURE, WINDOW_S, sign, verify
from tests.alerts.conftest import opened
from tests.alerts.desks import KEY, WebhookDesk
from vedette.settings import Secret

NOW_S = 1_700_000_000


@pytest.fixture
def hook(dial: Any) -> Iterator[WebhookDesk]:
    """A webhook with its server."""
    with WebhookDesk(dial) as desk:
        yield desk


def send(desk: WebhookDesk, message: Message) -> Outcome:
    """Send one message."""

    async def go() -> Outcome:
        async with opened(desk) as channel:
            outcome: Outcome = await channel.send(message, desk.target)
            return outcome

    return asyncio.run(go())


def test_a_post_is_signed_for_now(hook: WebhookDesk, message: Callable[..., Message], dial: Any) -> None:
    """The receiver can check the body as it came, with the key and its own clock."""
    send(hook, message(hook))
    ((headers, body),) = hook.sink.posts
    assert body.decode() == message(hook).data
    assert verify(headers[SIGNATURE], body, Secret(KEY), dial.now // 1000)


def test_a_retry_is_signed_anew(hook: WebhookDesk, message: Callable[..., Message], dial: Any) -> None:
    """An hour later the same message bears a signature of that hour, not one that looks like a replay."""
    send(hook, message(hook))
    dial.now += 3_600_000
    send(hook, message(hook))
    headers, body = hook.sink.posts[1]
    assert verify(headers[SIGNATURE], body, Secret(KEY), dial.now // 1000)
    assert not verify(hook.sink.posts[0][0][SIGNATURE], body, Secret(KEY), dial.now // 1000)


@given(body=st.binary(max_size=200), late=st.integers(-10_000, 10_000))
def test_a_signature_holds_within_its_window(body: bytes, late: int) -> None:
    """Neither an old one nor one from the future is accepted, so that a recorded post cannot be played again later."""
    signature = sign(body, Secret(KEY), NOW_S)
    assert verify(signature, body, Secret(KEY), NOW_S + late) == (abs(late) <= WINDOW_S)


@given(body=st.binary(min_size=1, max_size=200), place=st.integers(0), flip=st.integers(1, 255))
def test_any_change_of_body_key_or_header_is_noticed(body: bytes, place: int, flip: int) -> None:
    """One changed byte is enough."""
    signature = sign(body, Secret(KEY), NOW_S)
    at = place % len(body)
    changed = body[:at] + bytes([body[at] ^ flip]) + body[at + 1 :]
    assert not verify(signature, changed, Secret(KEY), NOW_S)
    assert not verify(signature, body, Secret(KEY + "x"), NOW_S)
    assert not verify(signature.replace(str(NOW_S), str(NOW_S + 1)), body, Secret(KEY), NOW_S)


@given(header=st.text(max_size=100))
def test_any_other_header_is_refused(header: str) -> None:
    """Whatever stands in the header, a wrong one is false, and no exception."""
    assert not verify(header, b"{}", Secret(KEY), NOW_S)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(200, Sent), (204, Sent), (302, Permanent), (400, Permanent), (404, Permanent), (410, Permanent),
     (408, Retry), (429, Retry), (503, Retry), (500, Unknown), (502, Unknown), (504, Unknown)],
)  # fmt: skip
def test_every_status_has_its_meaning(
    hook: WebhookDesk, message: Callable[..., Message], status: int, kind: type[Any]
) -> None:
    """Taken, to be sent again, never to be taken, or in doubt; a redirect is not followed with a signed body."""
    hook.sink.answers.append((status, False, b""))
    assert isinstance(send(hook, message(hook)), kind)
