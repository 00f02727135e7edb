import json
from collections.abc import Iterator

import psutil
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from stack.broker import ApacheBroker, Broker, EmbeddedBroker
from stack.process import free_ports
from tests.conftest import missing, wait_for
from vedette.errors import UnavailableError

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module", params=["embedded", pytest.param("apache", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Each kind of broker, which the tests here may kill."""
    directory = tmp_path_factory.mktemp("broker")
    port, controller = free_ports(2)
    server = (
        EmbeddedBroker(directory, port) if request.param == "embedded" else ApacheBroker(directory, port, controller)
    )
    try:
        server.start()
    except UnavailableError as error:
        missing(error)
    yield server
    server.stop()


@pytest.fixture
def topic(broker: Broker, topic_prefix: str) -> str:
    """A new topic of two partitions."""
    name = f"{topic_prefix}letters"
    client = AdminClient({"bootstrap.servers": broker.address})
    client.create_topics([NewTopic(name, 2, 1)])[name].result()
    return name


def produce(broker: Broker, topic: str, values: list[bytes], partition: int = 0) -> None:
    """Publish values and wait until the broker has acknowledged all of them."""
    producer = Producer({"bootstrap.servers": broker.address, "acks": "all"})
    for value in values:
        producer.produce(topic, value, partition=partition)
    assert producer.flush(20) == 0


def consume(broker: Broker, topic: str, count: int, partition: int = 0) -> list[bytes]:
    """Return the first values of a partition, read from the start."""
    consumer = Consumer({"bootstrap.servers": broker.address, "group.id": f"{topic}-reader"})
    try:
        consumer.assign([TopicPartition(topic, partition, 0)])
        return [message.value() for message in consumer.consume(count, timeout=20)]
    finally:
        consumer.close()


def snapshot_offset(broker: EmbeddedBroker, topic: str) -> int:
    """Count the messages of a topic's first partition in the embedded broker's snapshot."""
    snapshot = broker.directory / "data" / "kafka.json"
    if not snapshot.exists():
        return 0
    found = dict(json.loads(snapshot.read_bytes())["topics"])
    return int(dict(found[topic]["partitions"])[0]["high_watermark"]) if topic in found else 0


def test_round_trip(broker: Broker, topic: str) -> None:
    """What was published to a partition is read from it in the same order, and from no other partition."""
    produce(broker, topic, [b"a", b"b"], partition=0)
    produce(broker, topic, [b"c"], partition=1)
    assert consume(broker, topic, 2, partition=0) == [b"a", b"b"]
    assert consume(broker, topic, 1, partition=1) == [b"c"]


def test_messages_on_disk_survive_a_kill(broker: Broker, topic: str) -> None:
    """After SIGKILL and restart, another broker process has the same port and the messages that were on disk."""
    port, pid = broker.port, broker.pid
    produce(broker, topic, [b"before"])
    if isinstance(broker, EmbeddedBroker):  # its promise holds only for what is in its snapshot
        wait_for(lambda: snapshot_offset(broker, topic) == 1)
    broker.kill()
    assert not broker.running
    broker.restart()
    assert (broker.port, broker.pid != pid) == (port, True)
    produce(broker, topic, [b"after"])
    assert consume(broker, topic, 2) == [b"before", b"after"]


def test_acknowledged_messages_survive_a_stop(broker: Broker, topic: str) -> None:
    """A stop right after the acknowledgement loses nothing."""
    produce(broker, topic, [b"a", b"b"])
    broker.stop()
    broker.start()
    assert consume(broker, topic, 2) == [b"a", b"b"]


def test_committed_offsets_survive_a_stop(broker: Broker, topic: str) -> None:
    """A group's committed offset is still there after the broker is stopped and started."""
    produce(broker, topic, [b"a", b"b"])
    place = TopicPartition(topic, 0, 1)
    consumer = Consumer({"bootstrap.servers": broker.address, "group.id": f"{topic}-group"})
    consumer.commit(offsets=[place], asynchronous=False)
    consumer.close()
    broker.restart()
    again = Consumer({"bootstrap.servers": broker.address, "group.id": f"{topic}-group"})

    def committed() -> int | None:
        try:
            return int(again.committed([TopicPartition(topic, 0)], timeout=20)[0].offset)
        except KafkaException as error:
            if error.args[0].code() not in {KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS}:
                raise
            return None  # the broker answers before it has read its groups

    wait_for(lambda: committed() is not None)
    assert committed() == 1
    again.close()


def test_only_this_machine_can_connect(broker: Broker) -> None:
    """The broker listens on loopback addresses only."""
    listening = [
        connection.laddr
        for connection in psutil.Process(broker.pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert broker.port in {address.port for address in listening}
    assert {address.ip for address in listening} <= {"127.0.0.1", "::ffff:127.0.0.1"}


def test_starting_a_running_broker_is_refused(broker: Broker) -> None:
    """A second start names the running process, and leaves it alone."""
    with pytest.raises(UnavailableError, match=str(broker.pid)):
        broker.start()
    broker.ping(5)
