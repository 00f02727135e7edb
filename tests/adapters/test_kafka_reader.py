from contextlib import closing

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from adapters.kafka_client import client_config
from adapters.kafka_producer import KafkaProducer
from adapters.kafka_reader import OffsetReader, TopicReader, commit_offsets, committed_offsets
from stack.topics import apply
from tests.conftest import SettingsFor
from vedette.errors import UnavailableError
from vedette.settings import Settings
from vedette.topics import Name


@pytest.fixture(params=["embedded_stack", pytest.param("apache_stack", marks=pytest.mark.kafka)])
def settings(request: pytest.FixtureRequest, settings_for: SettingsFor, topic_prefix: str) -> Settings:
    """Settings with topics, on the embedded broker and on Apache Kafka."""
    made = settings_for(request.getfixturevalue(request.param), topic_prefix)
    apply(made)
    return made


def values(reader: TopicReader) -> list[bytes]:
    """Return all that a reader reads."""
    return [message.value() for piece in reader for message in piece]


def test_a_topic_is_read_to_its_present_end(settings: Settings) -> None:
    """Messages published after the reader was created are left for the next reader; nothing is committed."""
    topic = settings.topics.prefix + Name.LABELS
    producer = KafkaProducer(settings.kafka)
    for number in range(30):
        producer.send(topic, b"%d" % number, f"account-{number}")
    producer.flush()
    with closing(TopicReader(settings, Name.LABELS)) as reader:
        producer.send(topic, b"later", "account-1")
        producer.flush()
        assert reader.messages == 30
        assert sorted(values(reader), key=int) == [b"%d" % number for number in range(30)]
        assert sum(map(len, reader.current_offsets().values())) == 31
        wanted = {
            partition: range(known.start, known.start + 1) for partition, known in reader.offsets.items() if known
        }
        assert sum(len(piece) for piece in reader.read(wanted)) == len(wanted)


def test_a_missing_topic_is_named(settings: Settings) -> None:
    """The error names the topic."""
    elsewhere = Settings(kafka=settings.kafka)
    with pytest.raises(UnavailableError, match="topic labels cannot be read"):
        TopicReader(elsewhere, Name.LABELS)


def test_offsets_of_a_group_without_members_are_kept(settings: Settings) -> None:
    """The next reader gets the offsets that are committed for a group; a partition without one counts as 0."""
    topic = settings.topics.prefix + Name.DLQ
    group = f"{settings.topics.prefix}marks"
    commit_offsets(settings.kafka, group, topic, {1: 5})
    assert committed_offsets(settings.kafka, group, topic, range(3)) == {0: 0, 1: 5, 2: 0}


@pytest.mark.kafka
@pytest.mark.parametrize("settings", ["apache_stack"], indirect=True)
def test_aborted_and_open_transactions_are_not_read(settings: Settings) -> None:
    """A reader returns only what was committed, and ends where the first open transaction begins."""
    topic = settings.topics.prefix + Name.LABELS
    aborted, committed, unfinished = (
        Producer(client_config(settings.kafka) | {"transactional.id": f"{settings.topics.prefix}{name}"})
        for name in ("aborted", "committed", "unfinished")
    )
    for producer in (aborted, committed, unfinished):
        producer.init_transactions(30)
        producer.begin_transaction()
    aborted.produce(topic, b"never", partition=0)
    aborted.flush(30)
    aborted.abort_transaction(30)
    committed.produce(topic, b"yes", partition=0)
    committed.commit_transaction(30)
    unfinished.produce(topic, b"not yet", partition=0)
    unfinished.flush(30)
    with closing(TopicReader(settings, Name.LABELS)) as reader:
        assert values(reader) == [b"yes"]
    unfinished.commit_transaction(30)
    with closing(TopicReader(settings, Name.LABELS)) as reader:
        assert values(reader) == [b"yes", b"not yet"]


@pytest.mark.kafka
@pytest.mark.parametrize("settings", ["apache_stack"], indirect=True)
def test_what_a_topic_no_longer_keeps_is_an_error_or_skipped(settings: Settings) -> None:
    """Who needs every message is told; who takes what is there begins with the first, and offsets beyond end there."""
    topic = settings.topics.prefix + Name.DECISIONS
    producer = Producer(client_config(settings.kafka))
    for number in range(10):
        producer.produce(topic, b"%d" % number, partition=0)
    producer.flush(30)
    place = TopicPartition(topic, 0, 4)
    admin = AdminClient(client_config(settings.kafka))
    admin.delete_records([place])[place].result(30)

    def read(wanted: range, *, skip_deleted: bool) -> list[bytes]:
        reader = OffsetReader(
            settings, Name.DECISIONS, at_once=3, timeout_s=10.0, pause_s=0.05, skip_deleted=skip_deleted
        )
        with closing(reader):
            assert reader.available(0) == range(4, 10)
            return [message.value() for piece in reader.read_partition(0, wanted) for message in piece]

    assert read(range(2, 7), skip_deleted=True) == [b"4", b"5", b"6"]
    assert read(range(2), skip_deleted=True) == []
    assert read(range(5, 20), skip_deleted=False) == [b"5", b"6", b"7", b"8", b"9"]
    with pytest.raises(UnavailableError, match="decisions cannot be read"):
        read(range(2, 7), skip_deleted=False)
