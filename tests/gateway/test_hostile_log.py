"""What somebody who publishes decisions can do to the gateway."""

import pytest

from gateway.recent import RecentPayments
from tests.gateway.conftest import payment
from vedette.reading import UNREADABLE

NOW = 1_700_000_000_000


@pytest.mark.parametrize(
    "value",
    [
        b'{"transaction_id":"t-1","account_id":"a-1"}',
        b'{"transaction_id":"t-1","account_id":"a-1","final":"yes"}',
        b'{"transaction_id":"t-1","account_id":"\xff"}',
        b'{"transaction_id":"t-1","account_id":"a-1","more":' + b"[" * 100_000,
        b"",
    ],
    ids=["only its ids", "another type", "not UTF-8", "nested", "empty"],
)
def test_what_is_not_a_decision_does_not_stand_for_one(value: bytes) -> None:
    """A decision that gives no valid answer is refused on arrival: otherwise the answer would be 500 forever."""
    recent = RecentPayments(1_000_000, 100, b"k" * 32)
    with pytest.raises(UNREADABLE):
        recent.take(value, NOW)
    entry = recent.claim(payment("t-1", account_id="a-1"), NOW)
    assert entry.decided is None
