from collections.abc import Callable

import confluent_kafka
import pytest

from stack.local import LocalStack
from stack.topics import apply
from streams.decode import Reject
from streams.dlq import find, letters, replay
from streams.publish import Outbox, Publisher
from tests.streams.feed import Record
from vedette import Settings
from vedette.errors import InputError, UnavailableError
from vedette.topics import Name

SettingsFor = Callable[[LocalStack, str], Settings]


@pytest.fixture
def settings(embedded_stack: LocalStack, topic_prefix: str, settings_for: SettingsFor) -> Settings:
    """Topics with five dead letters in them."""
    settings = settings_for(embedded_stack, topic_prefix)
    apply(settings)
    publisher = Publisher(settings.kafka, settings.topics.prefix)
    values = [b"{", b"[]", None, b"\xff\xfe", b'{"amount": "ten"}']
    rejects = [
        Reject(Record(b"account-%d" % n, value, 2, 100 + n), "DecodeError", f"reason {n}")
        for n, value in enumerate(values)
    ]
    publisher.wait(publisher.send(Outbox(str(Name.TRANSACTIONS), rejects=rejects)))
    return settings


def transactions_on(settings: Settings) -> int:
    """How many messages the topic of transactions holds."""
    consumer = confluent_kafka.Consumer(settings.kafka.client_config() | {"group.id": "test"})
    name = settings.topics.prefix + Name.TRANSACTIONS
    ends = [
        consumer.get_watermark_offsets(confluent_kafka.TopicPartition(name, partition), timeout=10)[1]
        for partition in range(settings.topics.partitions)
    ]
    consumer.close()
    return sum(ends)


def test_every_letter_is_listed_with_source_reason_and_bytes(settings: Settings) -> None:
    """A dead letter says where it came from and why, and carries the original key and bytes."""
    found = sorted(letters(settings), key=lambda letter: letter.source)
    assert [letter.reason for letter in found] == [f"reason {n}" for n in range(5)]
    assert [letter.source for letter in found] == [f"2:{100 + n}" for n in range(5)]
    assert [letter.key for letter in found] == [b"account-%d" % n for n in range(5)]
    assert found[3].value == b"\xff\xfe"
    assert found[2].value is None
    assert {letter.topic for letter in found} == {settings.topics.prefix + Name.TRANSACTIONS}


def test_a_letter_is_found_by_its_id_or_said_not_to_be_there(settings: Settings) -> None:
    """An id leads to its letter, and one that does not exist is named in the error."""
    some = next(iter(letters(settings)))
    assert find(settings, some.id) == some
    with pytest.raises(InputError, match="9:999"):
        find(settings, "9:999")


def test_letters_are_chosen_by_reason(settings: Settings) -> None:
    """A text chooses the letters whose reason contains it, whatever the case."""
    assert [letter.reason for letter in letters(settings, reason="REASON 4")] == ["reason 4"]


def test_replay_sends_the_bytes_back_once(settings: Settings) -> None:
    """Letters go back to the topic they came from, and remembered ones are not fresh any more."""
    before = transactions_on(settings)
    replay(settings, list(letters(settings, fresh=True)), remember=True)
    assert transactions_on(settings) == before + 5
    assert list(letters(settings, fresh=True)) == []
    assert len(list(letters(settings))) == 5


def test_a_selection_need_not_be_remembered(settings: Settings) -> None:
    """Letters sent back without being remembered stay fresh."""
    replay(settings, list(letters(settings, reason="reason 1")), remember=False)
    assert len(list(letters(settings, fresh=True))) == 5


def test_no_broker_is_said_in_one_sentence(settings_for: SettingsFor, embedded_stack: LocalStack) -> None:
    """Without the topic the error says which topic could not be read."""
    with pytest.raises(UnavailableError, match=r"nowhere\.transactions\.dlq"):
        list(letters(settings_for(embedded_stack, "nowhere.")))
