from collections.abc import Callable

import confluent_kafka
import pytest

from adapters.kafka_client import client_config
from adapters.kafka_reader import TopicReader
from stack.local import LocalStack
from stack.state import StackState
from stack.topics import apply
from streams.decode import Reject
from streams.history.dead_letters import find, letters, replay
from streams.publish import OutgoingMessages, ResultPublisher
from streams.topic_check import check_topics
from tests.streams.feed import Record
from vedette import Settings
from vedette.errors import InputError, UnavailableError
from vedette.topics import Name

SettingsFor = Callable[[LocalStack, str], Settings]


@pytest.fixture
def settings(embedded_stack: StackState, topic_prefix: str, settings_for: SettingsFor) -> Settings:
    """Topics with five dead letters in them."""
    settings = settings_for(embedded_stack, topic_prefix)
    apply(settings)
    publisher = ResultPublisher(settings.kafka, settings.topics.prefix, check_topics(settings))
    values = [b"{", b"[]", None, b"\xff\xfe", b'{"amount": "ten"}']
    rejects = [
        Reject(Record(b"account-%d" % n, value, 2, 100 + n), "DecodeError", f"reason {n}")
        for n, value in enumerate(values)
    ]
    publisher.wait(publisher.send(OutgoingMessages(str(Name.TRANSACTIONS), rejects=rejects)))
    return settings


def transactions_on(settings: Settings) -> int:
    """Count the messages on the topic of transactions."""
    consumer = confluent_kafka.Consumer(client_config(settings.kafka) | {"group.id": "test"})
    name = settings.topics.prefix + Name.TRANSACTIONS
    ends = [
        consumer.get_watermark_offsets(confluent_kafka.TopicPartition(name, partition), timeout=10)[1]
        for partition in range(settings.topics.partitions)
    ]
    consumer.close()
    return sum(ends)


def test_every_letter_is_listed_with_source_reason_and_bytes(settings: Settings) -> None:
    """A dead letter has its source, reason, original key and bytes."""
    found = sorted(letters(settings), key=lambda letter: letter.source)
    assert [letter.reason for letter in found] == [f"reason {n}" for n in range(5)]
    assert [letter.source for letter in found] == [f"2:{100 + n}" for n in range(5)]
    assert [letter.key for letter in found] == [b"account-%d" % n for n in range(5)]
    assert found[3].value == b"\xff\xfe"
    assert found[2].value is None
    assert {letter.topic for letter in found} == {settings.topics.prefix + Name.TRANSACTIONS}


def test_a_letter_is_found_by_its_id_or_said_not_to_be_there(settings: Settings) -> None:
    """An id finds its letter, and an unknown one is named in the error."""
    some = next(iter(letters(settings)))
    assert find(settings, some.id) == some
    with pytest.raises(InputError, match="9:999"):
        find(settings, "9:999")


def test_letters_are_chosen_by_reason(settings: Settings) -> None:
    """A text chooses the letters whose reason contains it, whatever the case."""
    assert [letter.reason for letter in letters(settings, reason="REASON 4")] == ["reason 4"]


def test_replay_sends_the_bytes_back_once(settings: Settings) -> None:
    """Letters go back to their original topic, marked with their ids, and are then no longer fresh."""
    before = transactions_on(settings)
    sent = list(letters(settings, fresh=True))
    replay(settings, sent, remember=True)
    assert transactions_on(settings) == before + 5
    messages = TopicReader(settings, Name.TRANSACTIONS)
    marks = [header for chunk in messages for message in chunk for header in message.headers() or ()]
    messages.close()
    assert sorted(marks) == sorted(("vedette.replayed-from", letter.id.encode()) for letter in sent)
    assert list(letters(settings, fresh=True)) == []
    assert len(list(letters(settings))) == 5


def test_more_letters_than_a_producer_holds_are_replayed(settings: Settings) -> None:
    """A replay of more letters than librdkafka's queue holds waits for the broker, and sends every one, marked."""
    letter = next(iter(letters(settings, reason="reason 4")))
    before = transactions_on(settings)
    replay(settings, [letter] * 110_000, remember=False)
    assert transactions_on(settings) == before + 110_000


def test_a_selection_need_not_be_remembered(settings: Settings) -> None:
    """Letters sent back without being remembered stay fresh."""
    replay(settings, list(letters(settings, reason="reason 1")), remember=False)
    assert len(list(letters(settings, fresh=True))) == 5


def test_no_broker_is_said_in_one_sentence(settings_for: SettingsFor, embedded_stack: StackState) -> None:
    """Without the topic the error names the topic that could not be read."""
    with pytest.raises(UnavailableError, match=r"nowhere\.transactions\.dlq"):
        list(letters(settings_for(embedded_stack, "nowhere.")))
