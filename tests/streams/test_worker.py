"""A real `vedette worker` process, from the broker to the broker."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer

from adapters.kafka_client import client_config
from adapters.kafka_reader import TopicReader
from producers.poison import MOMENT
from stack.state import StackState
from stack.topics import apply
from stack.worker import WorkerProcess
from streams.history.run_output import Topics
from tests.conftest import SettingsFor, wait_for
from tests.streams.conftest import PARTITIONS, NewDeployment
from vedette.events import Label, Transaction
from vedette.partitioner import PARTITIONER, partition_of
from vedette.settings import Settings
from vedette.topics import WORKER_INPUTS, Name

WITHIN_S = 120.0

LABEL = Label(transaction_id="t0", account_id="a1", fraud=True, source="analyst", event_time=MOMENT, labelled_at=MOMENT)

StartWorker = Callable[[Settings], WorkerProcess]


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[StartWorker]:
    """Starts workers on the model and policy that ship; they end with the test."""
    started: list[WorkerProcess] = []

    def start(settings: Settings) -> WorkerProcess:
        started.append(WorkerProcess(settings, tmp_path, f"worker-{len(started)}"))
        return started[-1]

    yield start
    for process in started:
        process.kill()


class Feed:
    """Publishes to a deployment one message at a time, and waits until each one is committed."""

    def __init__(self, settings: Settings, topics: Topics, worker: WorkerProcess) -> None:
        self._prefix = settings.topics.prefix
        self._topics = topics
        self._worker = worker
        self._producer = Producer(client_config(settings.kafka) | {"partitioner": PARTITIONER})

    def send(self, topic: Name, value: bytes | None, key: bytes | None = b"a1", partition: int = -1) -> None:
        """Send a message, which the worker reads as a batch of its own."""
        before = self._worker.metric("vedette_messages_total")
        self._producer.produce(self._prefix + topic, value, key, partition)
        assert self._producer.flush(WITHIN_S) == 0

        def taken_in() -> bool:
            assert self._worker.running, self._worker.log_tail
            return self._worker.metric("vedette_messages_total") > before

        wait_for(taken_in, WITHIN_S)


def payment(number: int, **said: object) -> bytes:
    """Return a payment to a payee."""
    whole = {"transaction_id": f"t{number}", "account_id": "a1", "amount": 100, "currency": "EUR", "payee": "p1"}
    return msgspec.json.encode(msgspec.convert(whole | {"event_time": MOMENT} | said, Transaction))


def test_messages_that_touch_no_entity_do_not_end_the_worker(
    deployment: NewDeployment, worker: StartWorker, topics: Callable[[Settings], Topics]
) -> None:
    """A payment to a payee, a label without merchant and unreadable messages, each alone, leave the worker running."""
    settings = deployment("a")
    running = worker(settings)
    wait_for(lambda: running.ready or not running.running, WITHIN_S)
    reader = topics(settings)
    feed = Feed(settings, reader, running)
    feed.send(Name.TRANSACTIONS, payment(0, channel="transfer"))
    feed.send(Name.LABELS, msgspec.json.encode(LABEL))
    for topic in WORKER_INPUTS:
        feed.send(topic, b"not JSON")
        feed.send(topic, None)
    feed.send(Name.TRANSACTIONS, payment(1, merchant_id="m1"))
    assert [msgspec.json.decode(message.value())["transaction_id"] for message in reader.messages(Name.DECISIONS)] == [
        "t0",
        "t1",
    ]
    assert len(reader.messages(Name.DLQ)) == 2 * len(WORKER_INPUTS)
    assert running.stop() == 0


def account_of(partition: int, start: int = 0) -> str:
    """Return an account whose messages belong on a partition."""
    return next(
        name for i in range(start, start + 1000) if partition_of((name := f"a{i}").encode(), PARTITIONS) == partition
    )


def test_misplaced_messages_are_counted_and_named_once(
    deployment: NewDeployment, worker: StartWorker, topics: Callable[[Settings], Topics]
) -> None:
    """Messages without a key, with another key, or placed by another partitioner are decided, counted, logged once."""
    settings = deployment("a")
    running = worker(settings)
    wait_for(lambda: running.ready or not running.running, WITHIN_S)
    feed = Feed(settings, topics(settings), running)
    here = account_of(0)
    there = account_of(1)
    for number, (account, key) in enumerate(
        [(here, here), (there, None), (there, "x"), (there, there), (there, there)]
    ):
        feed.send(
            Name.TRANSACTIONS, payment(number, account_id=account), None if key is None else key.encode(), partition=0
        )
    feed.send(Name.LABELS, msgspec.json.encode(msgspec.structs.replace(LABEL, account_id=there)), None, partition=0)
    counted = {
        line.split("{")[1].split("}")[0]: float(line.rsplit(" ", 1)[1])
        for line in running.get("/metrics")[1].splitlines()
        if line.startswith("vedette_misplaced_total{")
    }
    assert {labels: count for labels, count in counted.items() if count} == {
        'reason="no_key",topic="transactions"': 1.0,
        'reason="other_key",topic="transactions"': 1.0,
        'reason="other_partitioner",topic="transactions"': 2.0,
        'reason="no_key",topic="labels"': 1.0,
    }
    logged = running.events("misplaced messages")
    assert [(entry["topic"], entry["first"]) for entry in logged] == [
        ("transactions", "transactions 0:1"),
        ("transactions", "transactions 0:2"),
        ("transactions", "transactions 0:3"),
        ("labels", "labels 0:0"),
    ]
    assert all("murmur2_random" in entry["remedy"] and there not in str(entry) for entry in logged)


@pytest.mark.kafka
def test_only_committed_transactions_are_decided(
    apache_stack: StackState, settings_for: SettingsFor, topic_prefix: str, worker: StartWorker,
    topics: Callable[[Settings], Topics],
) -> None:  # fmt: skip
    """What a producer aborts is never decided, and what it has not yet committed is decided once it is."""
    settings = settings_for(apache_stack, topic_prefix)
    settings = msgspec.structs.replace(settings, topics=msgspec.structs.replace(settings.topics, partitions=PARTITIONS))
    apply(settings)
    running = worker(settings)
    reader = topics(settings)
    name = settings.topics.prefix + Name.TRANSACTIONS

    def producer(who: str) -> Producer:
        made = Producer(client_config(settings.kafka) | {"transactional.id": f"{topic_prefix}{who}"})
        made.init_transactions(WITHIN_S)
        made.begin_transaction()
        return made

    def send(through: Producer, number: int, partition: int) -> None:
        through.produce(
            name, payment(number, account_id=account_of(partition)), account_of(partition).encode(), partition
        )
        assert through.flush(WITHIN_S) == 0

    def decided() -> list[str]:
        messages = reader.messages(Name.DECISIONS)
        return sorted(msgspec.json.decode(message.value())["transaction_id"] for message in messages)

    aborting, open_, committing = producer("aborting"), producer("open"), producer("committing")
    send(aborting, 0, 0)
    aborting.abort_transaction(WITHIN_S)
    send(open_, 1, 0)
    send(committing, 2, 0)  # behind the open one, so it has to wait for that
    send(committing, 3, 1)
    committing.commit_transaction(WITHIN_S)
    wait_for(lambda: "t3" in decided(), WITHIN_S)
    assert decided() == ["t3"]
    open_.commit_transaction(WITHIN_S)
    wait_for(lambda: "t2" in decided(), WITHIN_S)
    assert decided() == ["t1", "t2", "t3"]
    history = TopicReader(settings, Name.TRANSACTIONS)
    read = [msgspec.json.decode(message.value())["transaction_id"] for piece in history for message in piece]
    history.close()
    assert sorted(read) == ["t1", "t2", "t3"]
    assert running.stop() == 0


def test_worker_does_not_start_on_other_partitions(deployment: NewDeployment, worker: StartWorker) -> None:
    """A wrong number of partitions in the settings ends the start with exit code 2 and both numbers."""
    settings = deployment("a")
    other = msgspec.structs.replace(
        settings, topics=msgspec.structs.replace(settings.topics, partitions=PARTITIONS + 1)
    )
    refused = worker(other)
    assert refused.exit_code(within_s=WITHIN_S) == 2
    assert f"has {PARTITIONS} partitions, but [topics] partitions is {PARTITIONS + 1}" in refused.log_tail
