"""What tests of incidents share."""

from collections.abc import Callable
from typing import Any

import pytest

from vedette.events import Alert

NOW = 1_700_000_000_000


@pytest.fixture
def alert() -> Callable[..., Alert]:
    """Makes an alert; keywords change its fields."""

    def make(number: int = 1, **changes: Any) -> Alert:
        fields: dict[str, Any] = {
            "alert_id": f"alert-{number}",
            "transaction_id": f"transaction-{number}",
            "account_id": "DE0212030000000020205155",
            "event_time": NOW - 60_000,
            "amount": 123_450,
            "currency": "EUR",
            "action": "decline",
            "score": 0.973,
            "expected_loss": 120_117,
            "reasons": ["new device"],
            "merchant_id": "merchant-9",
        }
        return Alert(**fields | changes)

    return make
