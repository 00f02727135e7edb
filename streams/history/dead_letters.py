"""The dead-letter topic: list, find and replay dead letters."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, NamedTuple

import msgspec

from adapters.dead_letters import ENCRYPTED, MASKED, DeadLetters
from adapters.kafka_producer import KafkaProducer
from adapters.kafka_reader import TopicReader, commit_offsets, committed_offsets
from vedette.card_numbers import CardNumbers, holds_card_number
from vedette.errors import InputError
from vedette.events import Label, Transaction
from vedette.reading import read_label, read_transaction
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
    encrypted: bool = False
    """It is encrypted, and key and value are not shown."""
    masked: bool = False
    """Its card numbers were cut to ten digits when it was set aside, so it cannot be replayed."""

    @property
    def id(self) -> str:
        """Id of the letter: partition:offset in the dead-letter topic."""
        return f"{self.partition}:{self.offset}"


def letters(
    settings: Settings, *, fresh: bool = False, reason: str = "", decrypt: bool = False
) -> Iterator[DeadLetter]:
    """Yield the dead letters, partition by partition, oldest first.

    Args:
        settings: Settings of the broker.
        fresh: Yield only letters that were not replayed yet.
        reason: Yield only letters whose reason contains this text.
        decrypt: Decrypt letters with card numbers, by `[cards] dead_letter_key`.

    Raises:
        SettingsError: A letter is encrypted under a key that is not in the settings.
        StateError: An encrypted letter was changed.
        UnavailableError: The broker or the topic is not available.
    """
    group, name = _group(settings), settings.topics.prefix + Name.DLQ
    key = DeadLetters(settings.cards) if decrypt else None
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
                letter = _letter(message, key)
                if reason.lower() in letter.reason.lower():
                    yield letter


def find(settings: Settings, identifier: str, *, decrypt: bool = False) -> DeadLetter:
    """Return one dead letter by its id; see letters.

    Raises:
        InputError: There is no such letter.
    """
    for letter in letters(settings):
        if letter.id == identifier:
            if not (decrypt and letter.encrypted):
                return letter
            return next(one for one in letters(settings, decrypt=True) if one.id == identifier)
    raise InputError(f"there is no dead letter {identifier!r}", remedy="`vedette dlq list` shows the ids there are")


class Replayable(NamedTuple):
    """What a replay sends of the chosen letters, and what it leaves."""

    sent: list[DeadLetter]
    left: list[DeadLetter]
    """Encrypted ones, those of which only a masked copy is left, and those whose card numbers are refused still."""


def replayable(settings: Settings, chosen: list[DeadLetter]) -> Replayable:
    """Return the letters as they would be sent: card numbers in transactions and labels are tokens, or not sent.

    Letters of other topics go back as they came, to where they came from.
    """
    cards, prefix = CardNumbers(settings.cards), settings.topics.prefix
    sent, left = [], []
    for letter in chosen:
        reader = _READERS.get(letter.topic.removeprefix(prefix))
        held = cards.looks and (holds_card_number(letter.value) or holds_card_number(letter.key))
        if letter.encrypted or letter.masked:
            left.append(letter)
        elif reader is None or not held:
            sent.append(letter)
        else:
            try:
                event = cards.admit(reader(letter.value or b""))
            except InputError:
                left.append(letter)
            else:
                value, key = msgspec.json.encode(event), event.account_id.encode()
                sent.append(msgspec.structs.replace(letter, key=key, value=value))
    return Replayable(sent, left)


_READERS: dict[str, Callable[[bytes], Transaction | Label]] = {
    Name.TRANSACTIONS: read_transaction, Name.LABELS: read_label,
}  # fmt: skip


def replay(settings: Settings, chosen: list[DeadLetter], *, remember: bool) -> None:
    """Replay letters to their source topics, with a header that names the dead letter.

    Args:
        settings: Settings of the broker.
        chosen: The letters to replay, see replayable.
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


def _letter(message: Any, decrypt: DeadLetters | None) -> DeadLetter:
    headers = {name: value.decode(errors="replace") for name, value in message.headers() or () if value is not None}
    origin = {name.removeprefix(_HEADERS): value for name, value in headers.items() if name.startswith(_HEADERS)}
    key, value = message.key(), message.value()
    encrypted = ENCRYPTED in headers
    if encrypted:
        key, value = (None, None) if decrypt is None else decrypt.decrypted(value, headers)
    return DeadLetter(
        partition=message.partition(),
        offset=message.offset(),
        at=message.timestamp()[1],
        topic=origin.get("topic", ""),
        source=f"{origin.get('partition', '?')}:{origin.get('offset', '?')}",
        kind=origin.get("exception.class.name", ""),
        reason=origin.get("exception.message", ""),
        key=key,
        value=value,
        encrypted=encrypted and decrypt is None,
        masked=MASKED in headers,
    )
