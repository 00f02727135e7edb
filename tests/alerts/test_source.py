from collections.abc import Callable, Iterator

import pytest
import structlog
from confluent_kafka import Producer

from alerts.notify.source import Source
from tests.conftest import wait_for
from vedette.errors import UnavailableError
from vedette.settings import Settings
from vedette.topics import Name

Open = Callable[[], Source]


@pytest.fixture
def source(settings: Settings) -> Iterator[Open]:
    """Opens `alerts` under one and the same name in the group."""
    opened: list[Source] = []

    def open_() -> Source:
        opened.append(
            Source(
                settings.kafka, group=f"{settings.topics.prefix}g", member="one", most=10, timeout_s=10,
                topic=settings.topics.prefix + Name.ALERTS, log=structlog.get_logger(),
            )
        )  # fmt: skip
        return opened[-1]

    yield open_
    for each in opened:
        each.close()


def taken(reader: Source) -> list[bytes | None]:
    """What a reader takes first."""
    values: list[bytes | None] = []
    wait_for(lambda: values.extend(record.value for record in reader.take(0.1)) or values != [])
    return values


def test_what_was_not_committed_comes_again(settings: Settings, source: Open) -> None:
    """A message is taken again by the next reader until it has been committed, and no more afterwards."""
    producer = Producer(settings.kafka.client_config())

    def publish(value: bytes) -> None:
        producer.produce(settings.topics.prefix + Name.ALERTS, value, "a")
        assert producer.flush(10) == 0

    publish(b"one")
    for committing in (False, True):
        reader = source()
        assert taken(reader) == [b"one"]
        if committing:
            reader.commit()
        reader.close()
    publish(b"two")
    assert taken(source()) == [b"two"]


def test_a_reader_whose_name_was_taken_says_so(source: Open) -> None:
    """Who finds itself replaced in the group reads nothing any more, so it must fail instead of waiting for ever."""
    first = source()
    wait_for(lambda: first.take(0.1) == [] and first.assigned, 30)
    second = source()
    wait_for(lambda: second.take(0.1) == [] and second.assigned, 30)
    with pytest.raises(UnavailableError, match="cannot be read"):
        wait_for(lambda: first.take(0.1) is None, 30)
