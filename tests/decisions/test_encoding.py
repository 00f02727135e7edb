"""Decisions made from a template have the bytes that msgspec gives for a Decision."""

import msgspec
import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from decisions.encoding import encode_approvals, utf8_texts
from features.transaction_schema import SCHEMA
from vedette.events import MAX_AMOUNT, Decision

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64)
_PARTY = st.none() | _TEXT | st.sampled_from(['"', "%s", "\\"])
_PAYMENT = st.fixed_dictionaries(
    {
        "transaction_id": _TEXT | st.sampled_from(['"', "\\", '",', "%s", "\x00", "é", "a"]),
        "account_id": _TEXT,
        "event_time": st.integers(0, 2**53),
        "amount": st.integers(0, MAX_AMOUNT),
        "currency": st.sampled_from(["EUR", "JPY"]),
        "score": st.floats(0, 1),
        "expected_loss": st.integers(0, MAX_AMOUNT),
        **dict.fromkeys(("merchant_id", "payee", "device_id", "ip_address"), _PARTY),
        "channel": st.sampled_from([None, "pos"]),
        "country": st.sampled_from([None, "ES"]),
    }
)


@given(st.lists(_PAYMENT, max_size=5), st.booleans(), _TEXT)
def test_template_gives_the_bytes_of_the_event(payments: list[dict[str, object]], degraded: bool, model: str) -> None:
    """For any payment, the approval has the bytes of the encoded event."""
    versions = {"model": model, "policy": "100%@1", "features_hash": "h"}
    batch = pa.RecordBatch.from_pylist([{name: row.get(name) for name in SCHEMA.names} for row in payments], SCHEMA)
    score = np.array([row["score"] for row in payments], np.float64)
    loss = np.array([row["expected_loss"] for row in payments], np.int64)
    expected = [
        msgspec.json.encode(
            Decision(
                action="approve",
                reasons=[],
                rules=[],
                degraded=degraded,
                **versions,
                **{name: value for name, value in payment.items() if value is not None},  # type: ignore[arg-type]
            )
        )
        for payment in payments
    ]
    assert encode_approvals(batch, score, loss, versions, degraded=degraded) == expected
    part = batch.slice(1)  # its columns begin in the middle of a buffer
    assert encode_approvals(part, score[1:], loss[1:], versions, degraded=degraded) == expected[1:]


@given(st.lists(_TEXT, max_size=5))
def test_texts_are_their_utf8_bytes(texts: list[str]) -> None:
    """The key of a decision is the account id in UTF-8."""
    assert utf8_texts(pa.array(texts, pa.string())) == [text.encode() for text in texts]
