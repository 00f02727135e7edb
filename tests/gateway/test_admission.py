"""What is refused before it is published: an overload is bounded whatever its rate, and a worker that is away is none.

Times are arguments here, so nothing depends on how fast this machine is.
"""

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.admission import Admission
from gateway.backlog import Backlog
from gateway.decision_gateway import DecisionGateway, GatewayHealth
from gateway.metrics import GatewayMetrics
from gateway.publisher import Acknowledged
from gateway.recent import Entry, RecentPayments
from tests.gateway.conftest import payment
from vedette.client import ProblemError
from vedette.clock import SystemClock
from vedette.events import Decision, Transaction
from vedette.settings import Settings
from vedette.settings_gateway import GatewaySettings

DEADLINE_S = 0.25


def filled(payments: int, published_s: float = 10.0) -> tuple[Backlog, list[Entry]]:
    """A backlog of payments on one partition."""
    backlog, entries = Backlog(), [Entry("a", 0) for _ in range(payments)]
    for offset, entry in enumerate(entries):
        backlog.send()
        backlog.add(entry, 0, offset, published_s)
    return backlog, entries


def refused(admission: Admission, backlog: Backlog, now_s: float, waiting: int = 0) -> str:
    """The kind of the refusal of one more payment; empty: it is accepted."""
    try:
        admission.check_new(backlog, waiting, now_s)
    except ProblemError as error:
        kind = error.problem.type.rpartition(":")[2]
        return kind if error.problem.status == 503 and error.retry_after_s > 0 else f"{kind} without its remedy"
    return ""


def decide(backlog: Backlog, entry: Entry, now_s: float) -> float | None:
    """Let a decision come."""
    entry.standing = b"{}"
    return backlog.decide(entry, now_s)


def test_the_backlog_is_as_old_as_what_the_worker_has_not_passed() -> None:
    """A decision or the worker's offset takes a payment out: a duplicate of long ago gets no decision."""
    backlog, entries = Backlog(), [Entry("a", 0) for _ in range(4)]
    for number, entry in enumerate(entries):
        backlog.send()
        backlog.add(entry, number % 2, number // 2, 10.0 + number)
    assert backlog.age_s(20.0) == 10.0
    assert decide(backlog, entries[0], 20.0) == 10.0
    assert (backlog.age_s(20.0), backlog.partitions()) == (9.0, [0, 1])
    backlog.passed({1: 2, 5: 9})
    assert (backlog.age_s(20.0), backlog.partitions(), backlog.undecided(20.0)) == (8.0, [0], 1)
    assert decide(backlog, entries[1], 20.0) is None
    decide(backlog, entries[2], 20.0)
    assert (backlog.age_s(20.0), backlog.undecided(20.0)) == (0.0, 0)


def test_a_payment_counts_from_its_sending_to_its_decision() -> None:
    """What the broker has not acknowledged counts, what it refused does not, and a decision may come before either."""
    backlog = Backlog()
    early, failed = Entry("a", 0), Entry("a", 0)
    backlog.send()
    backlog.send()
    assert (backlog.undecided(1.0), backlog.partitions()) == (2, [])
    assert decide(backlog, early, 1.0) is None
    backlog.add(early, 0, 0, 1.0)
    backlog.fail()
    assert (backlog.undecided(1.0), backlog.age_s(2.0), failed.pending) == (0, 0.0, None)


def test_what_nobody_decides_is_bounded_by_its_age_alone() -> None:
    """While the worker is away the policy answers; when decisions come again, nothing new joins the queue."""
    backlog, entries = filled(1_500)
    admission = Admission(1_000, DEADLINE_S, behind_s=30.0)
    assert refused(admission, backlog, 10.5) == "overloaded"
    assert refused(admission, backlog, 12.0) == ""
    assert refused(admission, backlog, 40.1) == "stream-behind"
    decide(backlog, entries[0], 20.0)
    assert refused(admission, backlog, 20.1) == "overloaded"
    for entry in entries[1:]:
        decide(backlog, entry, 20.5)
    assert refused(admission, backlog, 20.5) == ""


def test_one_partition_without_a_worker_does_not_refuse_the_others() -> None:
    """Its payments wait for its next owner and are not counted; those of the others are."""
    backlog, _ = filled(100)
    busy = Entry("b", 0)
    backlog.send()
    backlog.add(busy, 1, 0, 11.9)
    assert backlog.undecided(12.0) == 1


def test_late_decisions_shrink_the_room_and_timely_ones_restore_it() -> None:
    """It shrinks once a window, however many are late, never below a batch, and grows back in seconds."""
    admission = Admission(1_000, DEADLINE_S, behind_s=30.0)
    for _ in range(500):
        admission.observe(0.3, 10.0)
    assert admission.room == 1_000
    admission.observe(0.01, 10.2)
    assert admission.room == 800
    for window in range(100):
        admission.observe(0.3, 11.0 + window)
    assert admission.room == 64
    admission.observe(0.01, 200.0)  # much time without a late one
    assert admission.room == 1_000
    admission.observe(0.01, 500.0)
    assert admission.room == 1_000


def test_a_pause_of_the_worker_refuses_nothing_at_an_ordinary_rate() -> None:
    """500 payments a second that wait for half a second once are all accepted."""
    admission = Admission(1_000, DEADLINE_S, behind_s=30.0)
    backlog, entries = filled(250)
    assert refused(admission, backlog, 10.5) == ""
    for entry in entries:
        admission.observe(decide(backlog, entry, 10.5) or 0.0, 10.5)
    backlog, _ = filled(20, 10.6)
    assert refused(admission, backlog, 10.6) == ""


@given(rate=st.integers(500, 20_000), capacity=st.integers(300, 3_000))
def test_any_overload_is_bounded(rate: int, capacity: int) -> None:
    """Whatever comes in, the queue settles where what is accepted is decided in time, and the worker stays busy."""
    admission, backlog = Admission(1_000, DEADLINE_S, behind_s=30.0), Backlog()
    queue: list[Entry] = []
    step_s, now_s, offset, last_second = 0.01, 100.0, 0, [0, 0]
    waits: list[float] = []
    for step in range(600):
        now_s += step_s
        for _ in range(int((step + 1) * rate * step_s) - int(step * rate * step_s)):
            if not refused(admission, backlog, now_s):
                entry = Entry("a", 0)
                backlog.send()
                backlog.add(entry, 0, offset, now_s)
                queue.append(entry)
                offset += 1
        for _ in range(int((step + 1) * capacity * step_s) - int(step * capacity * step_s)):
            if queue:
                wait_s = decide(backlog, queue.pop(0), now_s)
                assert wait_s is not None
                admission.observe(wait_s, now_s)
                if step >= 500:
                    waits.append(wait_s)
                    last_second[1] += 1
        assert len(queue) <= 1_000
    assert max(waits, default=0.0) <= DEADLINE_S
    assert last_second[1] >= 0.85 * min(rate, capacity)


def test_an_event_loop_that_runs_behind_accepts_nothing_new() -> None:
    """Its answers would be late, whatever the worker does; with little to do, refusing would not help."""
    admission, (backlog, _) = Admission(1_000, DEADLINE_S, behind_s=30.0), filled(64)
    assert refused(admission, backlog, 10.0) == ""
    admission.lag_s = 0.2
    assert refused(admission, backlog, 10.0) == "overloaded"
    assert refused(admission, Backlog(), 10.0, waiting=64) == "overloaded"
    assert refused(admission, Backlog(), 10.0, waiting=63) == ""


class Taking:
    """A broker that acknowledges at once."""

    def __init__(self) -> None:
        self.taken: list[Transaction] = []

    def send(self, topic: str, value: bytes, key: str, acknowledged: Acknowledged) -> None:
        """Take a payment."""
        assert topic == "transactions"
        self.taken.append(msgspec.json.decode(value, type=Transaction))
        assert key == self.taken[-1].account_id
        acknowledged(None, 0, len(self.taken))


def test_an_overload_is_refused_before_it_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused is neither on the topic nor remembered; what is accepted is, and decisions make room again."""
    monkeypatch.setattr("gateway.backlog._STALLED_S", 3600.0)
    settings, broker, health = Settings(gateway=GatewaySettings(in_flight=64)), Taking(), GatewayHealth()
    health.caught_up = True
    recent = RecentPayments(900_000, 10_000, b"k" * 32)
    gateway = DecisionGateway(settings, recent, broker, health, SystemClock(), GatewayMetrics())
    payments = [payment() for _ in range(200)]

    async def flood() -> list[str]:
        outcomes = []
        for each in payments:
            try:
                await gateway.accept(each, 60.0)
                outcomes.append("")
            except ProblemError as error:
                outcomes.append(error.problem.type.rpartition(":")[2])
        return outcomes

    assert asyncio.run(flood()) == [""] * 64 + ["overloaded"] * 136
    assert [each.transaction_id for each in broker.taken] == [each.transaction_id for each in payments[:64]]
    assert len(recent) == 64
    gateway.take([decision(each) for each in payments[:64]])
    assert asyncio.run(flood()) == [""] * 128 + ["overloaded"] * 72
    assert len(broker.taken) == 128


def decision(on: Transaction) -> bytes:
    """A decision as it is in the log."""
    said = {name: getattr(on, name) for name in ("transaction_id", "account_id", "event_time", "amount", "currency")}
    rest = {
        "action": "approve", "score": 0.1, "expected_loss": 1, "reasons": [], "rules": [], "model": "m", "policy": "p",
        "features_hash": "f",
    }  # fmt: skip
    return msgspec.json.encode(msgspec.convert(said | rest, Decision))
