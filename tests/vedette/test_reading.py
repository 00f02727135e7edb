"""Reasons for unreadable messages: the worker's dead letters and the gateway's refusals use the same words."""

from types import SimpleNamespace

import msgspec
import pytest

from producers.poison import MOMENT, POISON
from streams.decode import decode_labels, decode_transactions
from vedette.errors import InputError
from vedette.reading import read_label, read_transaction

PAYMENT = {"transaction_id": "t1", "account_id": "a1", "amount": 5, "currency": "EUR", "event_time": MOMENT}
WRONG = [
    b"",
    b"[" * 50_000,
    msgspec.json.encode(PAYMENT),
    *(
        msgspec.json.encode(PAYMENT | {"payee": "p"} | change)
        for change in (
            {"payee": " p"}, {"mcc": "abcd"}, {"ip_address": "1.2.3"}, {"currency": "EURO"}, {"event_time": 1_700_000},
            {"event_time": MOMENT // 1000}, {"amount": -1}, {"account_id": ""}, {"extra": {"x": "y"}},
        )
    ),
]  # fmt: skip


def stored(value: bytes | None) -> SimpleNamespace:
    """Return a message with this value."""
    return SimpleNamespace(key=b"a1", value=value, partition=0, offset=0, timestamp=MOMENT)


@pytest.mark.parametrize("value", [*WRONG, *(poison.value or b"" for poison in POISON)])
def test_one_event_is_refused_with_the_reason_of_its_dead_letter(value: bytes) -> None:
    """What the worker would reject is refused in the same words; nothing else is refused."""
    (_, rejects) = decode_transactions([stored(value)], 86_400_000)
    if not rejects or "ahead of the message" in rejects[0].reason:
        read_transaction(value)
        return
    with pytest.raises(InputError) as refused:
        read_transaction(value)
    assert refused.value.args[0] == rejects[0].reason


def test_a_label_is_refused_with_the_reason_of_its_dead_letter() -> None:
    """This holds for labels as for transactions."""
    label = {"transaction_id": "t1", "account_id": "a1 ", "fraud": True, "source": "x", "event_time": MOMENT}
    value = msgspec.json.encode(label | {"labelled_at": MOMENT})
    (_, _, (reject,)) = decode_labels([stored(value)])
    with pytest.raises(InputError) as refused:
        read_label(value)
    assert refused.value.args[0] == reject.reason


def test_what_is_read_is_in_canonical_form() -> None:
    """An address is written in one form, as by the worker."""
    value = msgspec.json.encode(PAYMENT | {"payee": "p", "ip_address": "2001:DB8:0:0::1"})
    assert read_transaction(value).ip_address == "2001:db8::1"
