"""The feed of decisions on the console, without a broker."""

import msgspec
import structlog

from adapters.http_server import Readiness
from console.live_feed import LiveFeed, matcher
from vedette.events import Action, Decision
from vedette.settings import Settings


def decision(payment: int, action: Action, *, degraded: bool = False, final: bool = False) -> bytes:
    """A message of the topic."""
    made = Decision(
        transaction_id=f"t{payment}", account_id=f"a{payment}", event_time=1, amount=1, currency="EUR", action=action,
        score=0.5, expected_loss=0, reasons=[], rules=[], model="m", policy="p", features_hash="f", degraded=degraded,
        final=final or msgspec.UNSET,
    )  # fmt: skip
    return msgspec.json.encode(made)


def test_the_first_decision_on_a_payment_is_shown() -> None:
    """A second regular one is passed over; what preceded it without history and what followed it are shown."""
    feed = LiveFeed(Settings(), Readiness(), structlog.get_logger())
    feed.add([
        decision(1, "decline", degraded=True), decision(1, "challenge"), decision(1, "decline"), b"garbage",
        decision(1, "approve", final=True), decision(2, "approve"), decision(2, "challenge"),
    ])  # fmt: skip
    rows = feed.view(matcher({}), 10).rows
    shown = [(row.decision.transaction_id, row.decision.action) for row in reversed(rows)]
    assert shown == [("t1", "decline"), ("t1", "challenge"), ("t1", "approve"), ("t2", "approve")]
