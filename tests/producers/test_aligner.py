import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from threading import Event, Thread

import msgspec
import pyarrow as pa
import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition

from adapters.kafka_client import client_config
from features.store import RedisStore
from producers.aligner import Aligner, BrokerEnds, parse_span
from producers.bootstrap import publish
from producers.replay import Plan, ReplayReport
from vedette import keys
from vedette.clock import DAY, HOUR, MINUTE
from vedette.errors import InputError, UnavailableError
from vedette.events import Transaction
from vedette.settings import Settings
from vedette.topics import WORKER_INPUTS, Name

BOUND = 2 * DAY
START = 1_500_000_000_000 // DAY * DAY
ROWS = 1_200
DEADLINE_S = 60

Apply = Callable[[str, int, int], None]


@pytest.fixture
def stream(frame: Callable[..., pa.RecordBatch]) -> pa.RecordBatch:
    """Ten days, a transaction every twelve minutes, over 50 accounts; every tenth is fraud."""
    times = [START + row * 12 * MINUTE for row in range(ROWS)]
    return frame(
        event_time=times,
        account_id=[f"a{row * 7 % 50}" for row in range(ROWS)],
        fraud=[row % 10 == 0 for row in range(ROWS)],
        labelled_at=[time + DAY for time in times],
    )


@pytest.fixture
def apply(settings: Settings) -> Iterator[Apply]:
    """Writes a watermark where the worker keeps it: topic, partition, next offset to apply."""
    with closing(redis.Redis.from_url(settings.redis.url)) as client:
        yield lambda topic, partition, offset: client.hset(
            keys.meta(settings.redis.prefix, partition), keys.position(topic), offset
        )


@pytest.fixture
def aligner(settings: Settings) -> Iterator[Callable[..., Aligner]]:
    """Makes an aligner whose clock advances one second each time it is read."""
    with closing(BrokerEnds(settings)) as ends, closing(RedisStore(settings.redis)) as store:
        ticks = count()
        yield lambda **options: Aligner(
            BOUND,
            ends,
            store.positions,
            monotonic=lambda: float(next(ticks)),
            **{"stopping": Event(), "warn": print} | options,
        )


def produce(settings: Settings, topic: Name, partition: int) -> None:
    """Publish one message to a topic."""
    producer = Producer(client_config(settings.kafka) | {"log_level": 2})
    producer.produce(settings.topics.prefix + topic, b"x", partition=partition)
    assert producer.flush(10) == 0


def test_partitions_stay_within_the_bound_of_the_slowest(
    settings: Settings, stream: pa.RecordBatch, apply: Apply
) -> None:
    """No transaction is published while one that is BOUND older waits to be applied; in the end all are published."""
    reports: list[ReplayReport] = []
    store = RedisStore(settings.redis)

    def run() -> None:
        with closing(store):
            plan = Plan()
            reports.append(
                publish(settings, [stream], plan, stopping=Event(), align_ms=BOUND, positions=store.positions)
            )

    topic, slow = settings.topics.prefix + Name.TRANSACTIONS, 2
    consumer = Consumer(client_config(settings.kafka) | {"group.id": "slow", "log_level": 2})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(settings.topics.partitions)])
    thread = Thread(target=run)
    waiting: list[tuple[int, int]] = []
    latest, widest, applied = 0, 0, 0
    deadline = time.monotonic() + DEADLINE_S
    with closing(consumer), closing(BrokerEnds(settings)) as ends:
        thread.start()
        while applied < ROWS:
            assert time.monotonic() < deadline, f"stuck after {applied} transactions"
            for partition, end in ends(Name.LABELS).items():
                apply(Name.LABELS, partition, end)
            messages = consumer.consume(500, 0.2)
            for message in messages:
                event_time = msgspec.json.decode(message.value() or b"", type=Transaction).event_time
                latest = max(latest, event_time)
                if message.partition() == slow:
                    waiting.append((event_time, message.offset() or 0))
                else:
                    apply(Name.TRANSACTIONS, message.partition() or 0, (message.offset() or 0) + 1)
                    applied += 1
            if waiting:
                widest = max(widest, latest - waiting[0][0])
            if waiting and not messages:  # only when nothing else moves does the slow partition get on
                apply(Name.TRANSACTIONS, slow, waiting[len(waiting) // 2][1] + 1)
                applied += len(waiting) // 2 + 1
                del waiting[: len(waiting) // 2 + 1]
        thread.join(DEADLINE_S)
    assert [report.transactions for report in reports] == [ROWS]
    assert BOUND // 2 < widest < BOUND


@pytest.mark.parametrize(("bound", "known"), [(BOUND, False), (0, True)])
def test_a_bound_needs_positions_and_positions_a_bound(
    settings: Settings, stream: pa.RecordBatch, bound: int, known: bool
) -> None:
    """Neither has an effect alone, so one without the other is refused before anything is sent."""
    with closing(RedisStore(settings.redis)) as store:
        positions = store.positions if known else None
        with pytest.raises(InputError, match=f"within {bound} ms .* positions"):
            publish(settings, [stream], Plan(), stopping=Event(), align_ms=bound, positions=positions)


@pytest.mark.parametrize("topic", WORKER_INPUTS)
def test_a_slice_waits_for_each_topic(
    settings: Settings, aligner: Callable[..., Aligner], apply: Apply, topic: Name
) -> None:
    """Transactions, labels and the resulting merchant activity must all have been applied."""
    gate = aligner(timeout_s=5)
    produce(settings, topic, 1)
    gate.after(START)
    if topic == Name.ACTIVITY:  # its end counts as it is once the other two have been applied
        produce(settings, topic, 1)
    gate.before(START + BOUND - gate.slice_ms - 1)  # too early for that slice to matter
    with pytest.raises(
        UnavailableError, match=f"made no progress on topic {topic} for 5 s and is . messages behind in part.* 1"
    ):
        gate.before(START + BOUND - gate.slice_ms)
    gate.after(START)
    apply(topic, 1, 2)
    gate.before(START + BOUND - gate.slice_ms)


def test_a_worker_that_stands_still_is_warned_of_once(settings: Settings, aligner: Callable[..., Aligner]) -> None:
    """A missing worker causes an early warning, and finally an error with the remedy."""
    warnings: list[str] = []
    gate = aligner(timeout_s=12, warn=warnings.append)
    produce(settings, Name.TRANSACTIONS, 0)
    for _ in range(2):
        gate.after(START)
        with pytest.raises(UnavailableError, match="is `vedette worker` running"):
            gate.before(START + BOUND)
    assert len(warnings) == 1
    assert "is it running?" in warnings[0]


def test_a_worker_that_moves_may_take_its_time(
    settings: Settings, aligner: Callable[..., Aligner], apply: Apply
) -> None:
    """The time-out counts from the last progress, not from the beginning."""
    for _ in range(30):
        produce(settings, Name.TRANSACTIONS, 0)
    applied = count(1)

    class Working(Event):
        def wait(self, timeout: float | None = None) -> bool:
            del timeout
            apply(Name.TRANSACTIONS, 0, next(applied))
            return False

    gate = aligner(timeout_s=3, stopping=Working())
    gate.after(START)
    gate.before(START + BOUND)
    assert next(applied) == 31


def test_a_stop_ends_the_waiting(settings: Settings, aligner: Callable[..., Aligner]) -> None:
    """A missing worker does not delay Ctrl-C."""
    stopping = Event()
    gate = aligner(stopping=stopping)
    produce(settings, Name.TRANSACTIONS, 0)
    gate.after(START)
    stopping.set()
    gate.before(START + BOUND)


@pytest.mark.parametrize(("text", "span"), [("6d", 6 * DAY), ("12h", 12 * HOUR), ("0.5", DAY // 2), ("45s", 45_000)])
def test_spans_are_written_with_their_unit(text: str, span: int) -> None:
    """A bare number counts days."""
    assert parse_span(text) == span


@pytest.mark.parametrize("text", ["", "d", "six", "-1d", "0", "nan", "inf"])
def test_what_is_no_span_is_refused(text: str) -> None:
    """The error repeats the value."""
    with pytest.raises(InputError, match=f"'{text}' is not a span"):
        parse_span(text)
