"""What a batch publishes: in messages that its topics accept, once, or not at all."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

from adapters.dead_letters import CUT_FROM
from adapters.kafka_client import client_config
from stack.local import LocalStack
from stack.state import StackState
from stack.topics import apply
from streams.arrow import next_source, read, write, write_within
from streams.decode import Reject
from streams.history.run_output import RunInput, Topics, read_output
from streams.publish import OutgoingDecision, OutgoingMessages, ResultPublisher
from streams.topic_check import check_topics
from tests.conftest import SettingsFor, running, wait_for
from tests.streams.conftest import PARTITIONS, MakePipeline, NewDeployment
from tests.streams.feed import Log, Record, batches, logs
from vedette.errors import DeliveryError, RefusedError, SettingsError, UnavailableError
from vedette.events import Decision
from vedette.settings import Settings
from vedette.topics import Name

OpenTopics = Callable[[Settings], Topics]

SMALL = 20_000
"""Bytes: room for some rows of the feature log."""


@pytest.fixture(scope="module")
def stream() -> Log:
    """Some 400 payments with labels."""
    return logs(PARTITIONS, 15)[1]


def decision(number: int) -> OutgoingDecision:
    """A decision on a payment, under its account."""
    made = Decision(
        transaction_id=f"t{number}", account_id=f"a{number}", event_time=1, amount=1, currency="EUR", action="approve",
        score=0.0, expected_loss=0, reasons=[], rules=[], model="m@1", policy="p@1", features_hash="h",
    )  # fmt: skip
    return OutgoingDecision(made.account_id.encode(), msgspec.json.encode(made))


def shrink(settings: Settings, size: int, *names: Name) -> None:
    """Let topics accept messages of at most this size."""
    resources = [
        ConfigResource(
            ConfigResource.Type.TOPIC,
            settings.topics.prefix + name,
            incremental_configs=[
                ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
            ],
        )
        for name in names
    ]
    client = AdminClient(client_config(settings.kafka))
    for answer in client.incremental_alter_configs(resources).values():
        answer.result()
    wait_for(lambda: all(check_topics(settings)[name] == size for name in names))


def test_large_batches_are_cut_to_what_topics_take(
    deployment: NewDeployment, pipeline: MakePipeline, topics: OpenTopics, stream: Log
) -> None:
    """Topics that accept only small messages hold the same decisions, features and state as other topics."""
    results = []
    for name in ("small", "large"):
        settings = deployment(name)
        if name == "small":
            shrink(settings, SMALL, Name.FEATURES, Name.ACTIVITY)
        made, reader = pipeline(settings), topics(settings)
        made.assign(set(range(PARTITIONS)))
        for work in batches(made, stream, reader, 1000):
            made.settle([work])
            sent = made.send([work])
            made.confirm(sent)
            for update in work.updates:
                made.commit(sent, update.partition)
        results.append(read_output(settings, reader))
        sizes = [len(message.value()) for topic in (Name.FEATURES, Name.ACTIVITY) for message in reader.messages(topic)]
        assert (max(sizes) <= SMALL) == (name == "small")
    assert not results[0].against(RunInput(stream.transactions), results[1])


def test_activity_of_one_message_is_never_cut_apart() -> None:
    """However small the limit, all records of a source message travel together: it is applied as a whole."""
    batch = pa.RecordBatch.from_pydict({"offset": [1, 1, 1, 2, 2, 3], "partition": [0, 0, 0, 0, 1, 1]})

    parts = [read(part).to_pydict()["offset"] for part in write_within(batch, 1, next_source)]
    assert parts == [[1, 1, 1], [2], [2], [3]]
    assert write_within(batch, len(write(batch)), next_source) == [write(batch)]


def test_dead_letter_that_is_too_large_loses_its_end(deployment: NewDeployment, topics: OpenTopics) -> None:
    """The dead letter fits the topic with its headers, and says how long the message was."""
    settings = deployment("a")
    shrink(settings, SMALL, Name.DLQ)
    value = os.urandom(2 * SMALL)
    rejects = [Reject(Record(b"k", body, 0, i), "ValidationError", "no JSON") for i, body in enumerate((value, b"x"))]
    publisher = ResultPublisher(settings.kafka, settings.topics.prefix, check_topics(settings))
    publisher.wait(publisher.send(OutgoingMessages(Name.TRANSACTIONS, rejects=rejects)))
    cut, whole = sorted(topics(settings).messages(Name.DLQ), key=lambda message: -len(message.value()))
    assert value.startswith(cut.value())
    assert len(cut.value()) > SMALL / 2
    assert dict(cut.headers())[CUT_FROM] == str(len(value)).encode()
    assert CUT_FROM not in dict(whole.headers())


def test_message_that_no_waiting_helps_is_refused(deployment: NewDeployment) -> None:
    """A row that is larger than its topic allows raises at once, naming topic and remedy, instead of being retried."""
    settings = deployment("a")
    publisher = ResultPublisher(settings.kafka, settings.topics.prefix, check_topics(settings))
    shrink(settings, 1_000, Name.FEATURES)
    delivery = publisher.send(OutgoingMessages(Name.TRANSACTIONS, features=[os.urandom(50_000)]))
    with pytest.raises(RefusedError, match=rf"{settings.topics.prefix}features: .*too large.*max\.message\.bytes"):
        publisher.wait(delivery)


def test_partition_that_is_not_there_is_refused(deployment: NewDeployment) -> None:
    """A topic with fewer partitions than the message's own never accepts it."""
    settings = deployment("a")
    publisher = ResultPublisher(settings.kafka, settings.topics.prefix, check_topics(settings))
    publisher.wait(publisher.send(OutgoingMessages(Name.TRANSACTIONS, features=[b"x"])))
    with pytest.raises(RefusedError, match="does not accept messages"):
        publisher.wait(publisher.send(OutgoingMessages(Name.TRANSACTIONS, features=[b"x"], features_partition=9)))


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[LocalStack]:
    """A stack whose broker may be frozen."""
    yield from running(LocalStack(tmp_path / "stack"))


def test_repeated_attempt_sends_only_what_is_missing(
    own_stack: LocalStack, settings_for: SettingsFor, topics: OpenTopics
) -> None:
    """Decisions that the broker has acknowledged are not published again with the rest of their batch."""
    settings = settings_for(own_stack, "")
    apply(settings)
    publisher = ResultPublisher(settings.kafka, "", check_topics(settings), timeout_s=3)
    first = publisher.send(OutgoingMessages(Name.TRANSACTIONS, decisions=[decision(i) for i in range(20)]))
    publisher.wait(first)
    reject = Reject(Record(b"k", b"v", 0, 0), "ValidationError", "no JSON")
    os.kill(own_stack.broker.pid, signal.SIGSTOP)
    try:
        second = publisher.send(OutgoingMessages(Name.TRANSACTIONS, decisions=[decision(20)], rejects=[reject]))
        with pytest.raises(DeliveryError, match="2 messages were not delivered"):
            publisher.wait(first, second)
    finally:
        os.kill(own_stack.broker.pid, signal.SIGCONT)
    publisher.wait(first, second)
    publisher.wait(first, second)
    reader = topics(settings)
    published = [msgspec.json.decode(message.value())["transaction_id"] for message in reader.messages(Name.DECISIONS)]
    assert "t20" in published
    assert sorted(name for name in published if name != "t20") == sorted(f"t{i}" for i in range(20))
    letter = reader.messages(Name.DLQ)[-1]
    assert dict(letter.headers())["__connect.errors.exception.message"] == b"no JSON"


def test_other_number_of_partitions_is_refused(deployment: NewDeployment) -> None:
    """A worker does not start on topics with more or fewer partitions than in the settings; the error has both."""
    settings = deployment("a")
    topics = msgspec.structs.replace(settings.topics, partitions=PARTITIONS + 3)
    message = rf"transactions has {PARTITIONS} partitions, but \[topics\] partitions is {PARTITIONS + 3}"
    with pytest.raises(SettingsError, match=message):
        check_topics(msgspec.structs.replace(settings, topics=topics))


def test_one_topic_of_another_size_is_refused(embedded_stack: StackState, settings_for: SettingsFor) -> None:
    """One topic that differs is enough; a missing one is named with the command that creates it."""
    settings = settings_for(embedded_stack, f"odd-{os.getpid()}-")
    client = AdminClient(client_config(settings.kafka))
    names = [name for name in Name if name != Name.ALERTS]
    count = settings.topics.partitions
    made = [NewTopic(settings.topics.prefix + name, 1 if name == Name.DLQ else count, 1) for name in names]
    for answer in client.create_topics(made).values():
        answer.result()
    with pytest.raises(UnavailableError, match=r"there is no topic .*alerts.*vedette topics apply"):
        check_topics(settings)
    client.create_topics([NewTopic(settings.topics.prefix + Name.ALERTS, count, 1)])[
        settings.topics.prefix + Name.ALERTS
    ].result()
    wait_for(lambda: settings.topics.prefix + Name.ALERTS in client.list_topics(timeout=10).topics)
    with pytest.raises(SettingsError, match=r"transactions\.dlq has 1 partitions"):
        check_topics(settings)
