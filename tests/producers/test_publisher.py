from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from producers.frame import rows_to_labels, rows_to_transactions
from producers.publisher import TransactionPublisher
from producers.simulation import Simulation
from producers.simulator import simulate
from stack.local import LocalStack
from stack.state import StackState
from stack.topics import apply
from vedette.errors import DeliveryError, UnavailableError
from vedette.events import Label, Transaction
from vedette.settings import KafkaSettings, Settings, TopicSettings

# Apache Kafka's own test vectors of its murmur2 (clients, UtilsTest.testMurmur2).
MURMUR2 = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


def test_what_is_sent_is_what_arrives(settings: Settings, read_topic: Callable[..., list[Any]]) -> None:
    """Every transaction and every fraud's label is on its topic, equal to the row, in order within an account."""
    (batch, *_) = simulate(Simulation(customers=200, terminals=400, days=1))
    with TransactionPublisher(settings) as publisher:
        counts = publisher.send_transactions(batch), publisher.send_labels(batch, "simulator")
    sent = rows_to_transactions(batch)
    arrived = read_topic("transactions", Transaction)
    assert sorted(arrived, key=lambda row: row.transaction_id) == sorted(sent, key=lambda row: row.transaction_id)
    for account in {row.account_id for row in sent}:
        assert [row for row in arrived if row.account_id == account] == [r for r in sent if r.account_id == account]
    labels = read_topic("labels", Label)
    assert {label.transaction_id for label in labels} == {
        label.transaction_id for label in rows_to_labels(batch, "simulator")
    }
    assert counts == (len(sent), len(labels))


def test_accounts_go_to_the_partition_that_java_clients_compute(
    settings: Settings, read_topic: Callable[..., list[Any]], frame: Callable[..., pa.RecordBatch]
) -> None:
    """The partition of a key is its murmur2 hash, sign bit cleared, modulo the number of partitions."""
    keys = list(MURMUR2)
    batch = frame(account_id=keys, fraud=[True] * len(keys), labelled_at=[0] * len(keys))
    with TransactionPublisher(settings) as publisher:
        publisher.send_transactions(batch)
        publisher.send_labels(batch, "file")
    expected = {key: (value & 0x7FFFFFFF) % settings.topics.partitions for key, value in MURMUR2.items()}
    for topic in ("transactions", "labels"):
        assert {message.key().decode(): message.partition() for message in read_topic(topic)} == expected


def test_a_missing_topic_is_named_before_anything_is_sent(embedded_stack: StackState) -> None:
    """No test relies on topics that are created automatically."""
    settings = Settings(
        kafka=KafkaSettings(bootstrap_servers=embedded_stack.bootstrap_servers), topics=TopicSettings(prefix="absent-")
    )
    with pytest.raises(UnavailableError, match=r"no topic absent-transactions.*vedette topics apply"):
        TransactionPublisher(settings)


def test_a_broker_that_is_not_there_is_named() -> None:
    """The error contains the address."""
    settings = Settings(kafka=KafkaSettings(bootstrap_servers="127.0.0.1:9"))
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:9 does not answer"):
        TransactionPublisher(settings, connect_timeout_s=1)


@pytest.mark.servers
def test_a_message_that_is_not_acknowledged_is_an_error(
    tmp_path: Path, settings_for: Callable[[LocalStack, str], Settings], frame: Callable[..., pa.RecordBatch]
) -> None:
    """When the broker goes away, flush says how many messages to which topic are lost, and why."""
    stack = LocalStack(tmp_path)
    stack.start()
    settings = settings_for(stack, "lost-")
    apply(settings)
    publisher = TransactionPublisher(settings, delivery_timeout_s=1)
    publisher.send_transactions(frame(amount=[1, 2]))
    publisher.flush()
    stack.stop()
    publisher.send_transactions(frame(amount=[3, 4, 5]))
    with pytest.raises(DeliveryError, match=r"3 messages to topic lost-transactions were not acknowledged: .*imed out"):
        publisher.flush()
