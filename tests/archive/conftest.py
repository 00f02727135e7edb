"""What tests of the archive share: generated topics, and tables filled from them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import msgspec
import pytest
from confluent_kafka import Producer

from adapters.kafka_client import client_config
from archive.tables import TABLES
from archive.writer import TableWriter
from vedette.events import Challenge, Decision, Event, Label, Transaction
from vedette.settings import ArchiveSettings, Settings
from vedette.topics import Name

START = 1_700_000_000_000
HOUR = 3_600_000


@dataclass(frozen=True)
class Stored:
    """A message as Kafka stores it."""

    partition: int
    offset: int
    timestamp: int
    value: bytes | None


Log = list[tuple[int, Event | bytes]]
"""Messages of a topic in the order in which they were published: partition and event."""


Publish = Callable[[Name, Log], None]


@pytest.fixture
def archive_settings(tmp_path: Path) -> ArchiveSettings:
    """An archive in a folder of this test's own."""
    return ArchiveSettings(url=str(tmp_path / "archive"))


@pytest.fixture
def publish(settings: Settings) -> Publish:
    """Publishes events to a topic's partitions."""

    def send(name: Name, log: Log) -> None:
        producer = Producer(client_config(settings.kafka))
        for partition, event in log:
            producer.produce(settings.topics.prefix + name, encoded(event), partition=partition)
            producer.poll(0)
        assert not producer.flush(30)

    return send


@pytest.fixture
def archived(settings: Settings, archive_settings: ArchiveSettings) -> Settings:
    """The test's settings with a separate archive that commits almost at once."""
    return msgspec.structs.replace(settings, archive=msgspec.structs.replace(archive_settings, freshness_s=0.05))


@pytest.fixture
def fill(archive_settings: ArchiveSettings) -> Callable[[dict[Name, Log]], None]:
    """Archives logs, some messages at a time, without a broker."""

    def write(logs: dict[Name, Log], piece: int = 7) -> None:
        for table in TABLES:
            writer = TableWriter(f"{archive_settings.url}/{table.topic}", table, table.topic, {})
            messages = stored(logs.get(table.topic, []))
            for start in range(0, len(messages), piece):
                part = messages[start : start + piece]
                rows, rejected = table.rows(part)
                assert not rejected
                writer.append(rows, {message.partition: message.offset + 1 for message in part})

    return write


def stored(log: Log) -> list[Stored]:
    """Return messages with the offsets that a broker would assign; bytes are used as they are."""
    ends: dict[int, int] = {}
    messages = []
    for number, (partition, event) in enumerate(log):
        offset = ends.get(partition, 0)
        ends[partition] = offset + 1
        messages.append(Stored(partition, offset, START + number, encoded(event)))
    return messages


def encoded(event: Event | bytes) -> bytes:
    """An event as its topic has it."""
    return event if isinstance(event, bytes) else msgspec.json.encode(event)


def payment(number: int, **changes: object) -> Transaction:
    """A payment of one of five accounts, hours apart."""
    fields: dict[str, object] = {
        "transaction_id": f"t{number}",
        "account_id": f"a{number % 5}",
        "amount": 100 * number,
        "currency": "EUR",
        "event_time": START + number * HOUR,
        "merchant_id": f"m{number % 3}",
    }
    return msgspec.convert(fields | changes, Transaction)


def decision(about: Transaction, action: str = "approve", **changes: object) -> Decision:
    """A decision on a payment."""
    fields: dict[str, object] = {
        "transaction_id": about.transaction_id,
        "account_id": about.account_id,
        "event_time": about.event_time,
        "amount": about.amount,
        "currency": about.currency,
        "action": action,
        "score": 0.5,
        "expected_loss": about.amount // 2,
        "reasons": [],
        "rules": [],
        "model": "m@1",
        "policy": "p@1",
        "features_hash": "h",
    }
    return msgspec.convert(fields | changes, Decision)


def challenge(about: Transaction, status: str, settled_at: int | None = None) -> Challenge:
    """A challenge about a payment."""
    return Challenge(
        challenge_id=f"c-{about.transaction_id}",
        transaction_id=about.transaction_id,
        account_id=about.account_id,
        amount=about.amount,
        currency=about.currency,
        payee=about.merchant_id or "",
        status=status,  # type: ignore[arg-type]
        factor="sms",
        issued_at=about.event_time + 1000,
        expires_at=about.event_time + 301_000,
        settled_at=settled_at,
    )


def label(about: Transaction, fraud: bool, labelled_at: int, source: str = "analyst") -> Label:
    """A label of a payment."""
    return Label(
        transaction_id=about.transaction_id,
        account_id=about.account_id,
        fraud=fraud,
        source=source,
        event_time=about.event_time,
        labelled_at=labelled_at,
    )


def shuffled(log: Sequence[tuple[int, Event | bytes]], random: Random) -> Log:
    """Return the log in another order of arrival."""
    return random.sample(list(log), len(log))
