from collections.abc import Callable, Iterator
from threading import Event
from typing import Any

import pyarrow as pa
import pytest

from producers.bootstrap import publish
from producers.publisher import TransactionPublisher
from producers.replay import Plan, Replay, ReplayReport
from producers.simulation import Simulation
from producers.simulator import simulate
from vedette.errors import InputError
from vedette.events import Label, Transaction
from vedette.settings import Settings

Frame = Callable[..., pa.RecordBatch]
Read = Callable[..., list[Any]]

SIMULATION = Simulation(customers=150, terminals=300, days=6, label_delay_days=2)


class RecordingPublisher(TransactionPublisher):
    """A real publisher that also remembers the order in which events were handed over."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.order: list[Transaction | Label] = []

    def send(self, events: Any) -> int:
        """Record the event, then send it."""
        self.order.extend(events)
        return super().send(events)


class SteppingTime(Event):
    """An event whose wait advances a clock instead of taking time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def wait(self, timeout: float | None = None) -> bool:
        """Advance by the time-out."""
        self.now += timeout or 0
        return self.is_set()


def replayed(settings: Settings, plan: Plan, batches: Any) -> tuple[list[Transaction | Label], ReplayReport]:
    """Return the events in the order of sending, and the report."""
    with RecordingPublisher(settings) as publisher:
        report = Replay(publisher, plan, stopping=Event()).run(batches)
    return publisher.order, report


def frauds(simulation: Simulation) -> int:
    """Count the frauds."""
    return sum(sum(batch.column("fraud").to_pylist()) for batch in simulate(simulation))


def test_everything_is_sent_and_reported(settings: Settings, read_topic: Read) -> None:
    """The report counts the messages on the broker and has the span of event time."""
    report = publish(settings, simulate(SIMULATION), Plan(), stopping=Event())
    transactions, labels = read_topic("transactions", Transaction), read_topic("labels", Label)
    assert report == ReplayReport(
        transactions=len(transactions),
        labels=len(labels),
        first_event_time=min(row.event_time for row in transactions),
        last_event_time=max(row.event_time for row in transactions),
    )
    assert len(labels) == frauds(SIMULATION) > 0


def test_delayed_labels_come_when_event_time_reaches_their_arrival(settings: Settings) -> None:
    """It follows every transaction up to that moment and precedes every later one; the remaining labels come last."""
    order, report = replayed(settings, Plan(labels="delayed"), simulate(SIMULATION))
    latest = 0
    released: set[str] = set()
    arrivals = sorted((event.labelled_at, event.transaction_id) for event in order if isinstance(event, Label))
    for event in order:
        if isinstance(event, Label):
            assert latest <= event.labelled_at or latest == report.last_event_time
            released.add(event.transaction_id)
        else:
            latest = event.event_time
            assert {name for moment, name in arrivals if moment < latest} <= released
    assert 0 < sum(moment < latest for moment, _ in arrivals) < len(arrivals)
    assert report.labels == frauds(SIMULATION)


def test_labels_at_once_follow_their_transaction(settings: Settings) -> None:
    """No label precedes its transaction."""
    order, _ = replayed(settings, Plan(all_labels=True), simulate(SIMULATION))
    seen = set()
    for event in order:
        if isinstance(event, Label):
            assert event.transaction_id in seen
        seen.add(event.transaction_id)
    assert sum(isinstance(event, Label) for event in order) == len(seen)


def test_without_labels_none_are_sent(settings: Settings) -> None:
    """`none` sends only transactions."""
    order, report = replayed(settings, Plan(labels="none"), simulate(SIMULATION))
    assert report.labels == 0
    assert {type(event) for event in order} == {Transaction}


@pytest.mark.parametrize("limit", [1, 10, 11, 25])
def test_the_limit_is_exact(settings: Settings, frame: Frame, limit: int) -> None:
    """No more transactions are sent than requested, wherever the batches end."""
    batches = [frame(amount=[1] * 10), frame(amount=[1] * 10), frame(amount=[1] * 10)]
    order, report = replayed(settings, Plan(limit=limit), batches)
    assert (len(order), report.transactions) == (limit, limit)


def test_a_replay_in_time_takes_as_long_as_the_events_did(settings: Settings, frame: Frame) -> None:
    """At speed 60, two minutes of events take two seconds; events within 50 ms of that are sent together."""
    times = [0, 30_000, 30_500, 60_000, 120_000]
    clock = SteppingTime()
    sent: list[tuple[float, int]] = []
    with TransactionPublisher(settings) as publisher:
        Replay(
            publisher,
            Plan(speed=60),
            stopping=clock,
            monotonic=lambda: clock.now,
            on_progress=lambda report: sent.append((clock.now, report.last_event_time or 0)),
        ).run([frame(event_time=times)])
    assert [(round(now, 6), time) for now, time in sent] == [(0, 0), (0.5, 30_500), (1, 60_000), (2, 120_000)]


def test_a_stop_ends_between_rows_and_counts_exactly(settings: Settings, read_topic: Read, frame: Frame) -> None:
    """Everything sent by then is acknowledged, nothing more is read, and the count is the broker's."""
    stopping = Event()
    read = []

    def endless() -> Iterator[pa.RecordBatch]:
        while True:
            read.append(1)
            yield frame(amount=[1] * 5_000, fraud=[True] * 5_000, labelled_at=[0] * 5_000)

    def stop_later(report: ReplayReport) -> None:
        if report.transactions >= 7_000:
            stopping.set()

    report = publish(settings, endless(), Plan(), stopping=stopping, on_progress=stop_later)
    assert report.interrupted
    assert 7_000 <= report.transactions < 10_000
    assert len(read) == 2
    assert len(read_topic("transactions")) == report.transactions
    assert len(read_topic("labels")) == report.labels == report.transactions


@pytest.mark.parametrize("plan", [Plan(speed=10), Plan(labels="delayed")])
def test_rows_out_of_order_are_refused_where_order_matters(settings: Settings, frame: Frame, plan: Plan) -> None:
    """A file sorted by card would make a replay in time wait forever; the error says to sort it."""
    with (
        pytest.raises(InputError, match=r"not in order of time.*1970-01-01T00:00:02.*sort"),
        TransactionPublisher(settings) as to,
    ):
        Replay(to, plan, stopping=Event()).run([frame(event_time=[1_000, 2_000]), frame(event_time=[1_500])])


def test_rows_out_of_order_are_fine_at_full_speed(settings: Settings, frame: Frame) -> None:
    """Without timing, the order of the file is the order of the topic."""
    order, _ = replayed(settings, Plan(), [frame(event_time=[2_000, 1_000])])
    assert [event.event_time for event in order] == [2_000, 1_000]


@pytest.mark.parametrize("wrong", [{"labels": "later"}, {"speed": -1}, {"limit": -1}])
def test_an_impossible_plan_is_refused(wrong: dict[str, Any]) -> None:
    """The value is named before anything is sent."""
    with pytest.raises(InputError, match=str(next(iter(wrong.values())))):
        Plan(**wrong)
