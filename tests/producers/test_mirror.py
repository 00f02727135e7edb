"""Decisions and alerts in Avro and Protobuf on topics of their own, read as an institution would read them."""

import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from os import environ
from typing import Any

import msgspec
import pytest
import structlog
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from adapters.kafka_client import client_config
from producers.bridge.mirror import MIRRORED, EventWriter, MirrorFormat, MirrorProgress
from producers.bridge.mirror_endpoint import mirror_until_idle
from producers.bridge.protobuf_descriptors import message_class
from producers.bridge.schema_decoding import ProtobufDecoder
from stack.schema_registry import SchemaRegistry
from stack.state import StackState
from stack.topics import apply
from tests.conftest import SettingsFor, wait_for
from tests.producers.conftest import committed_messages
from vedette.clock import SystemClock
from vedette.errors import InputError, UnavailableError
from vedette.event_schemas import protobuf_file
from vedette.events import Alert, Decision, Event, Reason
from vedette.settings import BridgeSettings, SchemaSettings, Settings
from vedette.topics import Name

PARTITIONS = 4


def decision(number: int, **changes: Any) -> Decision:
    """A decision with a reason of every type of value."""
    whole: dict[str, Any] = {
        "transaction_id": f"t{number}", "account_id": f"a{number % 7}", "event_time": 1_700_000_000_000 + number,
        "amount": 100, "currency": "EUR", "action": "review", "score": 0.5, "expected_loss": 50,
        "reasons": [Reason(code="c", text="two in an hour", weight=0.5, values={"n": 2, "x": 1.5, "w": "ES"})],
        "rules": ["r"], "model": "m", "policy": "p", "features_hash": "f", "merchant_id": "m1",
    }  # fmt: skip
    return Decision(**whole | changes)


class Mirrored:
    """A deployment with a registry and a topic for its decisions in Avro."""

    def __init__(self, settings: Settings, registry: SchemaRegistry) -> None:
        prefix = settings.topics.prefix
        self.settings = msgspec.structs.replace(
            settings,
            topics=msgspec.structs.replace(settings.topics, partitions=PARTITIONS),
            schemas=SchemaSettings(url=registry.url),
            bridge=BridgeSettings(group=f"{prefix}mirror", instance="one", batch_max=50, metrics_port=0),
        )
        apply(self.settings)
        self.target = f"{prefix}decisions.avro"
        self.create(self.target, PARTITIONS)
        self._producer = Producer(client_config(settings.kafka))
        self._registry = registry

    def create(self, topic: str, partitions: int) -> None:
        """Create a topic, as an operator would."""
        admin = AdminClient(client_config(self.settings.kafka))  # closed with its last reference
        admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(20)

    def send(self, value: bytes | None, partition: int, key: str = "k") -> None:
        """Put a message on the decisions topic."""
        self._producer.produce(self.settings.topics.prefix + Name.DECISIONS, value, key, partition)
        assert self._producer.flush(30) == 0

    def run(self, target: str = "") -> MirrorProgress:
        """Run the mirror until it has nothing to do."""
        progress, target = MirrorProgress(), target or self.target
        with closing(EventWriter(Decision, target, self.settings.schemas)) as write:
            mirror_until_idle(
                self.settings, Name.DECISIONS, target, write, progress=progress, clock=SystemClock(),
                log=structlog.get_logger(), stop=threading.Event(), until_idle_s=0.3,
            )  # fmt: skip
        return progress

    def read(self) -> list[tuple[int, bytes, dict[str, Any] | None]]:
        """Partition, key and record of every committed message, as Confluent's own deserializer gives them."""
        found = committed_messages(self.settings.kafka, self.target)
        with SchemaRegistryClient({"url": self._registry.url}) as client:
            read, context = AvroDeserializer(client), SerializationContext(self.target, MessageField.VALUE)
            return [(each.partition(), each.key(), each.value() and read(each.value(), context)) for each in found]


@pytest.fixture
def mirrored(apache_stack: StackState, settings_for: SettingsFor, topic_prefix: str) -> Iterator[Mirrored]:
    """A deployment on Apache Kafka with a registry."""
    with SchemaRegistry() as registry:
        yield Mirrored(settings_for(apache_stack, topic_prefix), registry)


@pytest.mark.kafka
def test_decisions_are_mirrored_once_in_their_places(mirrored: Mirrored) -> None:
    """Key, partition and order are kept, tombstones too; what is no decision is counted; nothing comes twice."""
    decisions = [decision(number) for number in range(40)] + [decision(40, final=True, channel="pos", degraded=True)]
    for number, each in enumerate(decisions):
        mirrored.send(msgspec.json.encode(each), number % PARTITIONS, each.account_id)
    mirrored.send(None, 1, "gone")
    mirrored.send(b"{}", 2)
    progress = mirrored.run()
    assert (progress.mirrored, progress.refused) == (42, 1)
    assert mirrored.run().mirrored == 0
    found = mirrored.read()
    events = [
        (partition, key.decode(), msgspec.convert({k: v for k, v in record.items() if v is not None}, Decision))
        for partition, key, record in found if record is not None
    ]  # fmt: skip
    for partition in range(PARTITIONS):
        assert [event for event in events if event[0] == partition] == [
            (partition, each.account_id, each) for each in decisions[partition::PARTITIONS]
        ]
    assert [(partition, key) for partition, key, record in found if record is None] == [(1, b"gone")]


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.runs("mirror")
def test_a_killed_mirror_loses_and_doubles_nothing(mirrored: Mirrored) -> None:
    """Kill -9 of the command twice in the middle of the work: every decision is there once in the end."""
    topic = mirrored.settings.topics.prefix + Name.DECISIONS
    for number in range(2_000):
        mirrored._producer.produce(topic, msgspec.json.encode(decision(number)), "k", number % PARTITIONS)
    assert mirrored._producer.flush(30) == 0
    environment = environ | {
        "VEDETTE_KAFKA__BOOTSTRAP_SERVERS": mirrored.settings.kafka.bootstrap_servers,
        "VEDETTE_TOPICS__PREFIX": mirrored.settings.topics.prefix, "VEDETTE_TOPICS__PARTITIONS": str(PARTITIONS),
        "VEDETTE_BRIDGE__GROUP": mirrored.settings.bridge.group, "VEDETTE_BRIDGE__INSTANCE": "one",
        "VEDETTE_BRIDGE__BATCH_MAX": "10", "VEDETTE_BRIDGE__METRICS_PORT": "0",
        "VEDETTE_SCHEMAS__URL": mirrored.settings.schemas.url,
    }  # fmt: skip
    command = [sys.executable, "-P", "-c", "from cli.main import main; main()", "mirror", "decisions"]
    for kill in (1, 2):
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as running:
            try:
                wait_for(lambda kill=kill: len(mirrored.read()) >= 300 * kill, 120)
            finally:
                running.kill()
    mirrored.run()
    found = Counter(record["transaction_id"] for _, _, record in mirrored.read() if record is not None)
    assert found == Counter({f"t{number}": 1 for number in range(2_000)})


@pytest.mark.kafka
def test_what_cannot_be_mirrored_is_refused_at_the_start(mirrored: Mirrored) -> None:
    """No registry, a registry that is away, and a topic that is missing or too narrow are named."""
    mirrored.create(f"{mirrored.target}.narrow", 1)
    with pytest.raises(UnavailableError, match="has 1 partitions instead of 4"):
        mirrored.run(f"{mirrored.target}.narrow")
    with pytest.raises(UnavailableError, match="no topic nowhere"):
        mirrored.run("nowhere")
    with pytest.raises(InputError, match="needs a schema registry"):
        EventWriter(Decision, "x", SchemaSettings())
    mirrored.send(msgspec.json.encode(decision(1)), 0)
    mirrored.settings = msgspec.structs.replace(mirrored.settings, schemas=SchemaSettings(url="http://127.0.0.1:9"))
    with pytest.raises(UnavailableError, match="does not take the schema"):
        mirrored.run()


@pytest.mark.parametrize("event", MIRRORED.values())
def test_every_mirrored_event_is_written(event: type[Event]) -> None:
    """Each kind of event that can be mirrored has a schema that its registry takes; an alert is read as it was."""
    with SchemaRegistry() as registry:
        settings = SchemaSettings(url=registry.url)
        with closing(EventWriter(event, "t", settings)) as write, pytest.raises(ValueError, match="required"):
            write(b"{}")
        alert = Alert(
            alert_id="al", transaction_id="t", account_id="a", event_time=1_700_000_000_000, amount=100, currency="EUR",
            action="review", score=0.5, expected_loss=50, reasons=[Reason(code="c", text="t", weight=1.0, values={})],
        )  # fmt: skip
        with closing(EventWriter(Alert, "alerts.avro", settings)) as write:
            written = write(msgspec.json.encode(alert))
        with SchemaRegistryClient({"url": registry.url}) as client:
            record: Any = AvroDeserializer(client)(written, SerializationContext("alerts.avro", MessageField.VALUE))
        assert msgspec.convert({key: value for key, value in record.items() if value is not None}, Alert) == alert


@pytest.mark.parametrize("event", MIRRORED.values())
def test_every_mirrored_event_has_a_protobuf_message(event: type[Event]) -> None:
    """Its fields, numbers and types are those of the published file, which the registry takes."""
    published = protobuf_file(event)
    for field in message_class(event).DESCRIPTOR.fields:
        assert re.search(rf"^  \S.* {field.name} = {field.number};", published, re.MULTILINE), field.name
    with SchemaRegistry() as registry:
        settings = SchemaSettings(url=registry.url)
        with (
            closing(EventWriter(event, "t", settings, MirrorFormat.PROTOBUF)) as write,
            pytest.raises(ValueError, match="required"),
        ):
            write(b"{}")


def test_a_decision_in_protobuf_is_read_as_a_bank_reads_it() -> None:
    """By the descriptor in the registry: what is absent stays absent, and each value of a reason keeps its type."""
    plain = decision(2, reasons=["as it was written once"], merchant_id=msgspec.UNSET)
    with SchemaRegistry() as registry:
        settings = SchemaSettings(url=registry.url)
        with closing(EventWriter(Decision, "d", settings, MirrorFormat.PROTOBUF)) as write:
            written = [write(msgspec.json.encode(one)) for one in (decision(1), plain)]
        with closing(ProtobufDecoder("d", settings)) as read:
            first, second = map(read, written)
    assert (first["transaction_id"], first["amount"], first["score"], first["merchant_id"]) == ("t1", "100", 0.5, "m1")
    (reason,) = first["reasons"]
    assert reason["values"] == {"n": {"whole": "2"}, "x": {"number": 1.5}, "w": {"text": "ES"}}
    assert (first["degraded"], first["rules"], "final" in first) == (False, ["r"], False)
    assert [each["text"] for each in second["reasons"]] == ["as it was written once"]
    assert "merchant_id" not in second
