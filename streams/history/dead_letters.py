"""The dead-letter topic: list, find and replay dead letters."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import msgspec

from adapters.kafka_producer import KafkaProducer
from adapters.kafka_reader import TopicReader, commit_offsets, committed_offsets
from vedette.errors import InputError
from vedette.settings import Settings
from vedette.topics import Name

_HEADERS = "__connect.errors."
_REPLAYED = "vedette.replayed-from"


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that could not be read."""

    partition: int
    offset: int
    at: int
    """Time at which it was dead-lettered, milliseconds."""
    topic: str
    """Source topic."""
    source: str
    """Partition and offset in the source topic."""
    kind: str
    reason: str
    key: bytes | None
    value: bytes | None

    @property
    def id(self) -> str:
        """Id of the letter: partition:offset in the dead-letter topic."""
        return f"{self.partition}:{self.offset}"


def letters(settings: Settings, *, fresh: bool = False, reason: str = "") -> Iterator[DeadLetter]:
    """Yield the dead letters, partition by partition, oldest first.

    Args:
        settings: Settings of the broker.
        fresh: Yield only letters that were not replayed yet.
        reason: Yield only letters whose reason contains this text.

    Raises:
        UnavailableError: The broker or the topic is not available.
    """
    group, name = _group(settings), settings.topics.prefix + Name.DLQ
    with closing(TopicReader(settings, Name.DLQ)) as reader:
        offsets = reader.offsets
        if fresh:
            replayed = committed_offsets(settings.kafka, group, name, offsets)
            offsets = {
                partition: range(max(known.start, replayed[partition]), known.stop)
                for partition, known in offsets.items()
            }
        for messages in reader.read(offsets):
            for message in messages:
                letter = _letter(message)
                if reason.lower() in letter.reason.lower():
                    yield letter


def find(settings: Settings, identifier: str) -> DeadLetter:
    """Return one dead letter by its id.

    Raises:
        InputError: There is no such letter.
    """
    for letter in letters(settings):
        if letter.id == identifier:
            return letter
    raise InputError(f"there is no dead letter {identifier!r}", remedy="`vedette dlq list` shows the ids there are")


def replay(settings: Settings, chosen: list[DeadLetter], *, remember: bool) -> None:
    """Replay letters to their source topics unchanged, with a header that names the dead letter.

    Args:
        settings: Settings of the broker.
        chosen: The letters to replay.
        remember: Whether everything up to the last one of each partition counts as replayed from now on.

    Raises:
        DeliveryError: The broker did not acknowledge one; none of them counts as replayed.
    """
    producer = KafkaProducer(
        settings.kafka, tuning={"message.max.bytes": settings.topics.max_message_bytes}, quiet=True
    )
    for letter in chosen:
        producer.send(letter.topic, letter.value, letter.key, headers=[(_REPLAYED, letter.id.encode())])
    producer.flush()
    if not (remember and chosen):
        return
    done = {letter.partition: letter.offset + 1 for letter in chosen}
    commit_offsets(settings.kafka, _group(settings), settings.topics.prefix + Name.DLQ, done)


def _group(settings: Settings) -> str:
    """Return the group whose offsets record what was replayed; it has no members."""
    return f"{settings.worker.group}-dlq"


def _letter(message: Any) -> DeadLetter:
    headers = {name: value.decode(errors="replace") for name, value in message.headers() or () if value is not None}
    origin = {name.removeprefix(_HEADERS): value for name, value in headers.items() if name.startswith(_HEADERS)}
    return DeadLetter(
        partition=message.partition(),
        offset=message.offset(),
        at=message.timestamp()[1],
        topic=origin.get("topic", ""),
        source=f"{origin.get('partition', '?')}:{origin.get('offset', '?')}",
        kind=origin.get("exception.class.name", ""),
        reason=origin.get("exception.message", ""),
        key=message.key(),
        value=message.value(),
    )
