"""The past as it is on the topics."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Producer

from adapters.kafka_client import client_config
from adapters.kafka_reader import TopicReader
from decisions.strategy import Strategy
from streams.history.run_output import Topics
from streams.history.topic_history import past
from streams.history.whatif import DecisionComparison, compare
from tests.command import vedette
from tests.conftest import ROOT
from tests.streams.conftest import PARTITIONS, MakePipeline, NewDeployment
from tests.streams.feed import Log, batches, logs
from vedette.clock import SystemClock, format_time
from vedette.errors import InputError, UnavailableError
from vedette.events import MAX_TIME, Transaction
from vedette.settings import Settings
from vedette.settings_page import describe
from vedette.topics import Name

OpenTopics = Callable[[Settings], Topics]


@pytest.fixture(scope="module")
def stages() -> tuple[Log, Log]:
    """Some 500 payments, each delivered twice, with labels: those before a pause, and all."""
    return logs(PARTITIONS, 25, times=2)


@pytest.fixture(scope="module")
def stream(stages: tuple[Log, Log]) -> Log:
    """All of them."""
    return stages[1]


@pytest.fixture
def decided(stages: tuple[Log, Log], deployment: NewDeployment, pipeline: MakePipeline, topics: OpenTopics) -> Settings:
    """A deployment that has decided on all of them, first without history, and that crashed once before a write."""
    settings = deployment("past")
    producer = Producer(client_config(settings.kafka))
    for (topic, partition), records in stages[1].records.items():
        for record in records:
            producer.produce(settings.topics.prefix + topic, record.value, record.key, partition)
    producer.flush(30)
    worker = pipeline(settings)
    worker.assign(set(range(PARTITIONS)))
    for partition in range(PARTITIONS):
        _, delivery = worker.decide_without_history(stages[1].records[Name.TRANSACTIONS, partition])
        worker.wait(delivery)
    for work in batches(worker, stages[0], topics(settings), 1000, activity=False):
        worker.confirm(worker.send([work]))
    worker.assign(set(range(PARTITIONS)))
    for log in stages:
        for work in batches(worker, log, topics(settings), 1000):
            sent = worker.send([work])
            worker.confirm(sent)
            for update in work.updates:
                worker.commit(sent, update.partition)
    return settings


def test_what_was_decided_is_decided_again(decided: Settings, stream: Log, strategy: Strategy, tmp_path: Path) -> None:
    """Replayed from the topics with the same model and policy, every payment is there once and nothing changes."""
    result = DecisionComparison()
    with past(decided, tmp_path, start_ms=0, end_ms=MAX_TIME) as history:
        changed = pa.Table.from_batches(compare(history.in_order(), None, strategy, result))
    labels = {record.value for (topic, _), queue in stream.records.items() if topic == Name.LABELS for record in queue}
    assert (result.transactions, result.undecided) == (len(stream.transactions), 0)
    assert result.frauds == len(labels) > 0
    assert len(changed) == result.moves.total() == 0
    assert result.old == result.new


@pytest.mark.runs("whatif")
def test_another_policy_through_the_command(decided: Settings, stream: Log, tmp_path: Path) -> None:
    """`vedette whatif` without a file compares with the topics, within a span, and writes the differences."""
    queues = [queue for (topic, _), queue in stream.records.items() if topic == Name.TRANSACTIONS]
    sent = {record.value or b"" for queue in queues for record in queue}
    payments = [msgspec.json.decode(value, type=Transaction) for value in sent]
    times = sorted(payment.event_time for payment in payments)
    start, end = times[len(times) // 3], times[len(times) // 2]
    (tmp_path / "vedette.toml").write_text(describe(decided), encoding="utf-8")
    rule = "{name: all, when: amount >= 0, action: review, reason: everything}"
    (tmp_path / "all.yaml").write_text(f"format: 1\nname: all\nversion: 1\nrules: [{rule}]\n", encoding="utf-8")
    span = ("--from", format_time(start), "--to", format_time(end), "--warm-up", "30d")
    options = ("--policy", str(tmp_path / "all.yaml"), "--output", str(tmp_path / "changed.parquet"), "--json")
    done = vedette("--settings", str(tmp_path / "vedette.toml"), "whatif", *span, *options, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    inside = {payment.transaction_id for payment in payments if start <= payment.event_time < end}
    changed = pq.read_table(tmp_path / "changed.parquet")
    assert summary["old"] == "as decided"
    assert summary["result"]["transactions"] == len(inside)
    assert sum(summary["result"]["new"]["alerts_by_day"].values()) == len(inside)
    assert summary["result"]["changed"] == len(changed) > 0
    assert set(changed.column("new_action").to_pylist()) == {"review"}
    assert set(changed.column("transaction_id").to_pylist()) <= inside


def test_a_topic_that_is_not_there(deployment: NewDeployment) -> None:
    """A missing topic is named, and so is one without transactions."""
    settings = deployment("empty")
    with (
        pytest.raises(InputError, match="there are no transactions"),
        past(settings, Path(), start_ms=0, end_ms=MAX_TIME) as _,
    ):
        pass
    elsewhere = msgspec.structs.replace(settings, topics=msgspec.structs.replace(settings.topics, prefix="none-"))
    with pytest.raises(UnavailableError, match="topic none-labels cannot be read"):
        TopicReader(elsewhere, Name.LABELS)


def test_reading_ends_where_the_topic_ended(deployment: NewDeployment) -> None:
    """Messages published during the reading do not extend it; older ones than requested are left out."""
    settings = deployment("ends")
    producer = Producer(client_config(settings.kafka))
    name = settings.topics.prefix + Name.LABELS

    def publish(values: range, at_ms: int) -> None:
        for value in values:
            producer.produce(name, str(value), partition=value % PARTITIONS, timestamp=at_ms)
        producer.flush(30)

    now = SystemClock().now_ms()  # what is older than the topic's retention may be gone at any moment
    publish(range(10), now - 2_000)
    publish(range(10, 20), now - 1_000)
    with (
        closing(TopicReader(settings, Name.LABELS)) as log,
        closing(TopicReader(settings, Name.LABELS, now - 1_500)) as late,
    ):
        publish(range(20, 30), now)
        found = [[int(message.value()) for piece in reader for message in piece] for reader in (log, late)]
        assert (log.messages, late.messages) == (20, 10)
    assert [sorted(values) for values in found] == [list(range(20)), list(range(10, 20))]


def test_a_partition_larger_than_a_fetch_is_read_whole(deployment: NewDeployment) -> None:
    """A partition beyond the client's usual 100 MB is read, although the embedded broker sends it in one answer."""
    settings = deployment("large")
    producer = Producer(client_config(settings.kafka) | {"message.max.bytes": 2_000_000})
    message = bytes(900_000)
    for _ in range(120):
        producer.produce(settings.topics.prefix + Name.FEATURES, message, partition=1)
        producer.flush(30)
    with closing(TopicReader(settings, Name.FEATURES, at_once=10)) as log:
        assert sum(len(piece) for piece in log) == log.messages == 120
