import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from adapters.dead_letters import MASKED
from adapters.kafka_client import client_config
from producers.bridge.conversion import Conversion
from producers.bridge.decoding import decoder
from producers.bridge.endpoint import run_until_idle
from producers.bridge.loop import BridgeProgress
from producers.mapping import load_mapping
from stack.schema_registry import SchemaRegistry
from stack.state import StackState
from stack.topics import apply
from stack.worker import WorkerProcess
from tests.card_messages import CARD
from tests.conftest import SettingsFor, wait_for
from tests.producers.conftest import committed_messages
from vedette.card_numbers import masked
from vedette.clock import SystemClock, parse_time
from vedette.errors import InputError, UnavailableError
from vedette.events import Transaction
from vedette.settings import BridgeSettings, SchemaSettings, Settings
from vedette.topics import Name

NOON = parse_time("2024-07-01T12:00:00Z")
_NO_COORDINATOR_YET = (
    KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)  # fmt: skip
MESSAGES = int(os.environ.get("VEDETTE_TEST_BRIDGE_MESSAGES", "4000"))
MAPPING = """
name = "bank"
description = "Authorisations of the card system."
where = { "event.type" = "AUTH" }

[fields]
transaction_id = { column = "event.id" }
account_id = { column = "card.account" }
amount = { column = "amounts[0].value", decimal = "," }
currency = { column = "amounts[0].currency" }
event_time = { column = "event.at" }
merchant_id = { first_of = ["shop.id", "shop.name"] }
fraud = { column = "event.fraud" }
"""
AVRO = {
    "type": "record", "name": "Authorisation", "namespace": "bank", "fields": [
        {"name": "event", "type": {"type": "record", "name": "Event", "fields": [
            {"name": "id", "type": "string"},
            {"name": "type", "type": {"type": "enum", "name": "Kind", "symbols": ["AUTH", "PING"]}},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        ]}},
        {"name": "card", "type": {"type": "record", "name": "Card", "fields": [{"name": "account", "type": "string"}]}},
        {"name": "amounts", "type": {"type": "array", "items": {"type": "record", "name": "Amount", "fields": [
            {"name": "value", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
            {"name": "currency", "type": "string"},
        ]}}},
        {"name": "shop", "type": ["null", {"type": "record", "name": "Shop", "fields": [
            {"name": "id", "type": ["null", "string"]}, {"name": "name", "type": "string"},
        ]}]},
        {"name": "place", "default": None, "type": ["null", {"type": "record", "name": "Place", "fields": [
            {"name": "lat", "type": "double"}, {"name": "lon", "type": "double"},
        ]}]},
    ],
}  # fmt: skip


class Bank:
    """A bank with its own topic beside the deployment's topics."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.topic = f"{settings.topics.prefix}bank.cards"
        self.mapping = folder / "bank.toml"
        self.mapping.write_text(MAPPING, encoding="utf-8")
        admin = AdminClient(client_config(settings.kafka))
        for made in admin.create_topics([NewTopic(self.topic, 3, 1)]).values():
            made.result(20)
        self.producer = Producer(client_config(settings.kafka) | {"linger.ms": 20})

    def send(self, *values: bytes | None, partition: int = 0, key: bytes | None = b"k") -> None:
        """Put messages on the topic."""
        for value in values:
            self.producer.produce(self.topic, value, key, partition)
        assert self.producer.flush(30) == 0

    def bridge(self, form: str = "json", idle_s: float = 0.3) -> BridgeProgress:
        """Run the bridge until it has nothing to do."""
        progress = BridgeProgress()
        with closing(decoder(form, self.topic, self.settings.schemas)) as decode:
            run_until_idle(
                self.settings, self.topic, Conversion(load_mapping(str(self.mapping)), decode), progress=progress,
                clock=SystemClock(), log=_Log(), stop=threading.Event(), until_idle_s=idle_s,
            )  # fmt: skip
        return progress

    def read(self, name: str) -> list[Any]:
        """Return all committed messages of one of the deployment's topics."""
        return committed_messages(self.settings.kafka, self.settings.topics.prefix + name)

    def transactions(self) -> list[Transaction]:
        """Return what the worker would read."""
        return [msgspec.json.decode(message.value(), type=Transaction) for message in self.read(Name.TRANSACTIONS)]


class _Log:
    """A log that nobody reads."""

    def info(self, *arguments: Any, **named: Any) -> None:
        """Log nothing."""

    warning = info


@pytest.fixture
def bank(apache_stack: StackState, settings_for: SettingsFor, topic_prefix: str, tmp_path: Path) -> Bank:
    """A bank on Apache Kafka, whose bridge has a short name."""
    settings = settings_for(apache_stack, topic_prefix)
    apply(settings)
    bridge = BridgeSettings(group=f"{topic_prefix}bridge", instance="one", batch_max=50, metrics_port=0)
    return Bank(msgspec.structs.replace(settings, bridge=bridge), tmp_path)


@pytest.fixture
def registered(bank: Bank) -> Iterator[tuple[Bank, SchemaRegistryClient]]:
    """A bank with a schema registry."""
    with SchemaRegistry() as registry, SchemaRegistryClient({"url": registry.url}) as client:
        bank.settings = msgspec.structs.replace(bank.settings, schemas=SchemaSettings(url=registry.url))
        yield bank, client


def authorisation(number: int, **changes: Any) -> bytes:
    """Return a message in the bank's own format, with nested fields."""
    return json.dumps(
        {
            "event": {"id": f"e{number}", "type": "AUTH", "at": f"2024-07-01T14:00:{number % 60:02}+02:00"},
            "card": {"account": f"a{number % 7}"},
            "amounts": [{"value": "12,50", "currency": "EUR"}, {"value": "13,00", "currency": "USD"}],
            "shop": {"id": None, "name": "Bo"},
        }
        | changes
    ).encode()


@pytest.mark.kafka
def test_a_foreign_topic_becomes_transactions_once(bank: Bank) -> None:
    """Tombstones, null keys, aborted, foreign and invalid messages each have an outcome; a second run finds nothing."""
    aborting = Producer(client_config(bank.settings.kafka) | {"transactional.id": f"{bank.topic}-a"})
    aborting.init_transactions(30)
    aborting.begin_transaction()
    aborting.produce(bank.topic, authorisation(99), b"k", 1)
    aborting.flush(30)
    aborting.abort_transaction(30)
    bank.send(authorisation(1), None, b"{", b"", key=None)
    bank.send(
        authorisation(2, event={"id": "e2", "type": "AUTH", "at": "2024-07-01T12:00:02Z", "fraud": True}),
        authorisation(3, event={"type": "PING"}), authorisation(4, amounts=[]), authorisation(5, shop={"id": ["x"]}),
        b"\x00\x00\x00\x00\x01" + authorisation(6), b"\xff\x00", authorisation(7, card={"account": CARD}),
        partition=2,
    )  # fmt: skip
    progress = bank.bridge()
    counts = (progress.transactions, progress.labels, progress.refused, progress.tombstones, progress.left_out)
    assert counts == (3, 1, 6, 1, 1)
    assert set((progress.lag or {}).values()) == {0}
    by_id = {event.transaction_id: event for event in bank.transactions()}
    assert sorted(by_id) == ["e1", "e2", "e6"]
    assert by_id["e1"] == Transaction(
        transaction_id="e1", account_id="a1", amount=1250, currency="EUR", event_time=NOON + 1000, merchant_id="Bo"
    )
    assert [message.key() for message in bank.read(Name.LABELS)] == [b"a2"]
    letters = [dict(message.headers()) for message in bank.read(Name.DLQ)]
    assert {letter["__connect.errors.topic"] for letter in letters} == {bank.topic.encode()}
    reasons = {
        (letter["__connect.errors.partition"], letter["__connect.errors.offset"]): letter[
            "__connect.errors.exception.message"
        ]
        for letter in letters
    }
    assert reasons.keys() == {(b"0", b"2"), (b"0", b"3"), (b"2", b"2"), (b"2", b"3"), (b"2", b"5"), (b"2", b"6")}
    assert reasons[b"2", b"2"] == b"amounts[0].currency '' is empty"
    assert reasons[b"2", b"3"] == b"shop.id '' is a list, not a value: name one of its elements"
    assert b"is not JSON" in reasons[b"0", b"2"]
    assert reasons[b"2", b"6"].startswith(f"card.account '{masked(CARD)}' is a card number".encode())
    assert [MASKED in letter for letter in letters].count(True) == 1
    assert not any(CARD.encode() in message.value() for message in bank.read(Name.DLQ))
    again = bank.bridge()
    assert (again.transactions, again.commits) == (0, 0)


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.runs("bridge")
def test_five_kills_lose_and_double_nothing(bank: Bank) -> None:
    """Killed five times in the middle of the work, the bridge makes every message exactly one transaction.

    VEDETTE_TEST_BRIDGE_MESSAGES=50000 is the full run.
    """
    for partition in range(3):
        bank.send(*(authorisation(n) for n in range(MESSAGES) if n % 3 == partition), partition=partition, key=None)
    environment = os.environ | {
        "VEDETTE_KAFKA__BOOTSTRAP_SERVERS": bank.settings.kafka.bootstrap_servers,
        "VEDETTE_TOPICS__PREFIX": bank.settings.topics.prefix,
        "VEDETTE_BRIDGE__GROUP": bank.settings.bridge.group, "VEDETTE_BRIDGE__INSTANCE": "one",
        "VEDETTE_BRIDGE__BATCH_MAX": str(max(MESSAGES // 200, 10)), "VEDETTE_BRIDGE__METRICS_PORT": "0",
    }  # fmt: skip
    command = [sys.executable, "-m", "cli", "bridge", "--topic", bank.topic, "--mapping", str(bank.mapping)]
    group = f"{bank.settings.bridge.group}-{bank.topic}"
    # A transaction that a kill leaves open must not keep the observer waiting.
    offsets = Consumer(client_config(bank.settings.kafka) | {"group.id": group, "isolation.level": "read_uncommitted"})

    def done() -> int:
        try:
            places = offsets.committed([TopicPartition(bank.topic, partition) for partition in range(3)], 10)
        except KafkaException as error:
            if error.args[0].code() in _NO_COORDINATOR_YET:  # the broker has just made the topic of the groups
                return -1
            raise
        return sum(max(place.offset, 0) for place in places)

    with ExitStack() as ending:
        ending.callback(offsets.close)
        for kill in range(1, 6):
            running = ending.enter_context(subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL))
            ending.callback(running.kill)
            wait_for(lambda kill=kill: done() >= MESSAGES * kill // 7, 120)
            assert done() < MESSAGES, "the bridge was done before it was killed"
            running.kill()
            running.wait()
    bank.bridge()
    found = Counter(event.transaction_id for event in bank.transactions())
    assert found == Counter({f"e{number}": 1 for number in range(MESSAGES)})


@pytest.mark.kafka
def test_a_topic_in_avro_is_read_by_the_schemas_that_wrote_it(registered: tuple[Bank, SchemaRegistryClient]) -> None:
    """Nested records, arrays, unions, enums, decimals and timestamps; unknown ids and damage become dead letters."""
    bank, registry = registered
    serialize = AvroSerializer(registry, json.dumps(AVRO), conf={"auto.register.schemas": True})
    context = SerializationContext(bank.topic, MessageField.VALUE)
    record = {
        "event": {"id": "8f14e45f-ceea-467f-9f1d-2b2b2b2b2b2b", "type": "AUTH", "at": NOON},
        "card": {"account": "a1"}, "amounts": [{"value": "12.50", "currency": "EUR"}],
        "shop": {"id": None, "name": "Bo"},
    }  # fmt: skip
    good = serialize(json.loads(json.dumps(record), parse_float=str) | {"amounts": [_amount("12.50")]}, context)
    bank.mapping.write_text(MAPPING.replace(', decimal = ","', "").replace('fraud = { column = "event.fraud" }', ""))
    bank.send(good, b"\x00\x00\x00\x03\xe7" + good[5:], good[:20], good[5:], None, b"")
    progress = bank.bridge("avro")
    assert (progress.transactions, progress.refused, progress.tombstones) == (1, 4, 1)
    assert bank.transactions() == [
        Transaction(
            transaction_id="8f14e45f-ceea-467f-9f1d-2b2b2b2b2b2b", account_id="a1", amount=1250, currency="EUR",
            event_time=NOON, merchant_id="Bo",
        )
    ]  # fmt: skip
    reasons = sorted(
        dict(message.headers())["__connect.errors.exception.message"].decode() for message in bank.read(Name.DLQ)
    )
    assert reasons[2] == "has schema id 999, which is not in the registry"
    assert [reason.split(",")[0] for reason in reasons[:2]] == [
        "does not begin with the magic byte 0 and the id of a schema"
    ] * 2
    assert reasons[3].startswith("is not valid by schema 1: ")


def _amount(value: str) -> dict[str, Any]:
    return {"value": Decimal(value), "currency": "EUR"}


@pytest.mark.kafka
@pytest.mark.slow
def test_a_banks_own_avro_topic_ends_in_decisions_and_alerts(
    registered: tuple[Bank, SchemaRegistryClient], tmp_path: Path
) -> None:
    """A payment in Madrid and ten minutes later in Tokyo, in nested Avro: bridge, worker, a challenge, an alert."""
    bank, registry = registered
    serialize = AvroSerializer(registry, json.dumps(AVRO), conf={"auto.register.schemas": True})
    context = SerializationContext(bank.topic, MessageField.VALUE)
    places = [("1", NOON, 40.4, -3.7), ("2", NOON + 600_000, 35.7, 139.7)]
    for number, at, lat, lon in places:
        record = {
            "event": {"id": number, "type": "AUTH", "at": at}, "card": {"account": "a1"}, "amounts": [_amount("12.50")],
            "shop": {"id": "s", "name": "Bo"}, "place": {"lat": lat, "lon": lon},
        }  # fmt: skip
        bank.send(serialize(record, context))
    fields = MAPPING.replace(', decimal = ","', "").replace(
        'fraud = { column = "event.fraud" }', 'lat = { column = "place.lat" }\nlon = { column = "place.lon" }'
    )
    bank.mapping.write_text(fields, encoding="utf-8")
    worker = WorkerProcess(bank.settings, tmp_path, "worker")
    try:
        assert bank.bridge("avro").transactions == 2
        wait_for(lambda: bool(bank.read(Name.ALERTS)) or not worker.running, 200)
        assert worker.running, worker.log_tail
        decisions = [msgspec.json.decode(message.value()) for message in bank.read(Name.DECISIONS)]
        assert [(one["transaction_id"], one["action"]) for one in decisions] == [("1", "approve"), ("2", "challenge")]
        (alert,) = (msgspec.json.decode(message.value()) for message in bank.read(Name.ALERTS))
        assert (alert["transaction_id"], alert["account_id"], alert["amount"]) == ("2", "a1", 1250)
    finally:
        assert worker.stop() == 0


def card_payment() -> Any:
    """The class of a Protobuf message with a nested one, as a bank's own .proto would define it."""
    kinds = FieldDescriptorProto
    file = FileDescriptorProto(name="bank/card.proto", package="bank", syntax="proto3")
    file.message_type.add(name="Other")
    outer = file.message_type.add(name="Payment")
    inner = outer.nested_type.add(name="Event")
    for number, name in enumerate(("id", "type", "at"), start=1):
        inner.field.add(name=name, number=number, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL)
    outer.field.add(
        name="event", number=1, type=kinds.TYPE_MESSAGE, type_name=".bank.Payment.Event", label=kinds.LABEL_OPTIONAL
    )
    outer.field.add(name="account_number", number=2, type=kinds.TYPE_INT64, label=kinds.LABEL_OPTIONAL)
    outer.field.add(name="cents", number=3, type=kinds.TYPE_INT64, label=kinds.LABEL_OPTIONAL)
    outer.field.add(name="shop", number=4, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL)
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("bank.Payment"))


@pytest.mark.kafka
def test_a_topic_in_protobuf_is_read_by_the_registry_alone(registered: tuple[Bank, SchemaRegistryClient]) -> None:
    """No generated code is needed; zero is a value, and a type that is not the file's first one is found."""
    bank, registry = registered
    kind = card_payment()
    serialize = ProtobufSerializer(kind, registry, {"use.deprecated.format": False})
    context = SerializationContext(bank.topic, MessageField.VALUE)
    bank.mapping.write_text(
        MAPPING.replace("card.account", "account_number")
        .replace('{ column = "amounts[0].value", decimal = "," }', '{ column = "cents", unit = "minor" }')
        .replace('{ column = "amounts[0].currency" }', '{ constant = "EUR" }')
        .replace('{ first_of = ["shop.id", "shop.name"] }', '{ column = "shop" }')
        .replace('fraud = { column = "event.fraud" }', "")
    )
    event = {"id": "e1", "type": "AUTH", "at": "2024-07-01T12:00:00Z"}
    good = serialize(kind(event=event, account_number=7, cents=0, shop="Bo"), context)
    bank.send(good, good[:5] + b"\x02\x00\xff\xff", good[:4] + b"\x63" + good[5:])
    progress = bank.bridge("protobuf")
    assert (progress.transactions, progress.refused) == (1, 2)
    assert bank.transactions() == [
        Transaction(transaction_id="e1", account_id="7", amount=0, currency="EUR", event_time=NOON, merchant_id="Bo")
    ]


@pytest.mark.kafka
def test_a_registry_that_is_away_makes_no_dead_letter(bank: Bank) -> None:
    """Nothing is committed: the messages are read again once it is back."""
    bank.settings = msgspec.structs.replace(
        bank.settings, schemas=SchemaSettings(url="http://127.0.0.1:9", timeout_s=0.2)
    )
    bank.send(b"\x00\x00\x00\x00\x01x")
    with pytest.raises(UnavailableError, match=r"registry at http://127\.0\.0\.1:9 does not answer"):
        bank.bridge("avro")
    assert not bank.read(Name.DLQ)


def test_what_cannot_be_bridged_is_refused_at_the_start(tmp_path: Path) -> None:
    """Row numbers, unknown formats, and formats that need a registry where none is set."""
    (tmp_path / "m.toml").write_text(MAPPING.replace('{ column = "event.id" }', "{ row_number = true }"))
    with pytest.raises(InputError, match=r"transaction_id is a row's number.*\$offset"):
        Conversion(load_mapping(str(tmp_path / "m.toml")), decoder("json", "t", SchemaSettings()))
    with pytest.raises(InputError, match=r"'xml'.*one of json, avro, protobuf"):
        decoder("xml", "t", SchemaSettings())
    with pytest.raises(InputError, match="need a schema registry"):
        decoder("avro", "t", SchemaSettings())
