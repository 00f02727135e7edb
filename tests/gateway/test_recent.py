"""What the gateway knows about recent payments."""

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.recent import RecentPayments
from vedette.client import ProblemError
from vedette.events import Decision, Transaction

NOW = 1_700_000_000_000
PAID = Transaction(
    transaction_id="t", account_id="a", amount=100, currency="EUR", event_time=NOW, payee="p", device_id="d",
    ip_address="192.0.2.1", extra={"x": 1.0, "y": 2.0},
)  # fmt: skip


def decision(**said: object) -> bytes:
    """Return a decision on PAID, as it is in the log."""
    whole: dict[str, object] = {
        "transaction_id": "t", "account_id": "a", "event_time": NOW, "amount": 100, "currency": "EUR",
        "action": "review", "score": 0.5, "expected_loss": 50, "reasons": ["r"], "rules": [], "model": "m",
        "policy": "p", "features_hash": "f", "payee": "p", "device_id": "d",
    }  # fmt: skip
    return msgspec.json.encode(msgspec.convert(whole | said, Decision))


def recent(lookback_ms: int = 1_000, remember: int = 10) -> RecentPayments:
    """An empty memory."""
    return RecentPayments(lookback_ms, remember, b"k" * 32)


def refused_field(known: RecentPayments, paid: Transaction) -> str:
    """Return the field that a refusal names; empty: the payment is the same."""
    try:
        known.claim(paid, NOW)
    except ProblemError as refused:
        return refused.problem.field
    return ""


CHANGES = {
    "account_id": "b", "amount": 101, "currency": "USD", "event_time": NOW + 1, "payee": None, "device_id": "e",
    "ip_address": None, "merchant_id": "m", "extra": {"x": 1.0}, "lat": 1.5, "account_type": "t", "balance": 0,
}  # fmt: skip


@pytest.mark.parametrize("field", CHANGES)
def test_whatever_field_differs_is_named(field: str) -> None:
    """Each field of a payment is compared with that of the first request under its id."""
    known = recent()
    known.claim(PAID, NOW)
    assert refused_field(known, msgspec.structs.replace(PAID, **{field: CHANGES[field]})) == field
    assert refused_field(known, msgspec.structs.replace(PAID, extra={"y": 2.0, "x": 1.0})) == ""


@pytest.mark.parametrize("field", ["account_id", "amount", "currency", "event_time", "payee", "device_id"])
def test_after_a_restart_the_decision_tells_what_differs(field: str) -> None:
    """What the decision repeats is compared; from then on every field is."""
    known = recent()
    known.take(decision(), NOW)
    assert refused_field(known, msgspec.structs.replace(PAID, **{field: CHANGES[field]})) == field
    assert refused_field(known, PAID) == ""
    assert refused_field(known, msgspec.structs.replace(PAID, lat=1.0)) == "lat"


def test_the_first_decision_stands() -> None:
    """A later one adds nothing, but a degraded one and a final one are kept separately."""
    known = recent()
    entry = known.claim(PAID, NOW)
    assert known.take(decision(degraded=True, score=0.1), NOW) is entry
    assert entry.standing is None
    known.take(decision(score=0.2), NOW)
    assert known.take(decision(score=0.3), NOW) is None
    known.take(decision(final=True, score=0.4, action="approve"), NOW)
    scores = [msgspec.json.decode(raw or b"")["score"] for raw in (entry.degraded, entry.standing, entry.final)]
    assert scores == [0.1, 0.2, 0.4]


def test_an_id_of_two_accounts_has_two_payments() -> None:
    """Both are known, and neither account gets the other's decision."""
    known = recent()
    known.take(decision(), NOW)
    known.take(decision(account_id="b"), NOW)
    assert [entry.account_id for entry in known.entries("t")] == ["a", "b"]
    assert known.claim(PAID, NOW) is known.entries("t")[0]


def test_an_id_refused_before_it_was_published_is_free_again() -> None:
    """Nobody needs another id because the gateway was busy; a payment that may be on its topic keeps its id."""
    known = recent()
    known.claim(PAID, NOW)
    known.release(PAID)
    other = msgspec.structs.replace(PAID, amount=5)
    assert refused_field(known, other) == ""
    known.entries("t")[0].published = True
    known.release(other)
    assert refused_field(known, PAID) == "amount"


def test_a_payment_that_is_waited_for_is_not_forgotten() -> None:
    """Age and number are bounded, but an entry with waiting requests is kept."""

    async def forget() -> list[int]:
        known = recent(remember=1)
        waiting = asyncio.create_task(known.claim(PAID, NOW).changed(asyncio.get_running_loop().time() + 60))
        await asyncio.sleep(0)
        known.claim(msgspec.structs.replace(PAID, transaction_id="u"), NOW + 5_000)
        sizes = [len(known)]
        known.take(decision(), NOW)
        await waiting
        known.expire(NOW + 5_000)
        return [*sizes, len(known)]

    assert asyncio.run(forget()) == [2, 1]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5_000)), max_size=60))
def test_memory_is_bounded(steps: list[tuple[int, int]]) -> None:
    """Whatever happens, no more payments are kept than allowed, and ids and payments agree."""
    known, now = recent(remember=8), NOW
    for number, later in steps:
        now += later
        try:
            known.claim(msgspec.structs.replace(PAID, transaction_id=str(number)), now)
        except ProblemError:  # pragma: no cover
            pytest.fail("the same payment is never refused")
        assert len(known) <= 8
        assert set(known._accounts) == {key[0] for key in known._entries}
        assert all(entry.since_ms >= now - 1_000 for entry in known._entries.values())
