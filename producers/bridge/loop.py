"""The bridge: the messages of another institution's topic as transactions, labels and dead letters."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from adapters.dead_letters import DeadLetters, Unreadable
from producers.bridge.conversion import CARD_NUMBER, Bridged, Conversion, Refused
from producers.bridge.copying import CopiedMessage, CopyProgress, ForeignMessage, TransactionalCopy
from vedette.clock import Clock
from vedette.settings import Settings
from vedette.topics import Name

_OVERHEAD = 4_096
"""Bytes reserved in a dead letter for key, headers and the framing of the log."""


@dataclass
class BridgeProgress(CopyProgress):
    """Counts since the start; those of messages are committed.

    Attributes:
        transactions: Transactions published.
        labels: Labels published.
        refused: Messages that became dead letters.
        tombstones: Messages without a value.
        left_out: Messages that the mapping leaves out.
    """

    transactions: int = 0
    labels: int = 0
    refused: int = 0
    tombstones: int = 0
    left_out: int = 0

    def add(self, bridged: Bridged) -> None:
        """Count what was committed."""
        self.transactions += len(bridged.transactions)
        self.labels += len(bridged.labels)
        self.refused += len(bridged.refused)
        self.tombstones += bridged.tombstones
        self.left_out += bridged.left_out


class Bridge(TransactionalCopy[BridgeProgress, Bridged]):
    """One run of the bridge; see TransactionalCopy.

    Args:
        settings: The broker, the topics' prefix and `[bridge]`.
        topic: The foreign topic, by its full name.
        instance: Name of this process in the group.
        conversion: Makes events of messages.
        progress: The counts to update.
        clock: Tells when something was committed.
        log: A structlog logger.
    """

    def __init__(
        self, settings: Settings, topic: str, instance: str, conversion: Conversion, progress: BridgeProgress,
        clock: Clock, log: Any,
    ) -> None:  # fmt: skip
        self._conversion = conversion
        self._letters = DeadLetters(settings.cards)
        self._encode = msgspec.json.Encoder().encode
        prefix = settings.topics.prefix
        self._to = {name: prefix + name for name in (Name.TRANSACTIONS, Name.LABELS, Name.DLQ)}
        super().__init__(
            settings, topic, dict.fromkeys(self._to.values(), 1), group=f"{settings.bridge.group}-{topic}",
            instance=instance, progress=progress, clock=clock, log=log,
        )  # fmt: skip

    def _convert(self, messages: list[ForeignMessage]) -> Bridged:
        return self._conversion.convert(messages)

    def _outgoing(self, given: Bridged) -> Iterator[CopiedMessage]:
        for transaction in given.transactions:
            yield CopiedMessage(self._to[Name.TRANSACTIONS], self._encode(transaction), transaction.account_id)
        for label in given.labels:
            yield CopiedMessage(self._to[Name.LABELS], self._encode(label), label.account_id)
        for refused in given.refused:
            yield self._dead_letter(refused)

    def _count(self, given: Bridged) -> None:
        self._progress.add(given)

    def _dead_letter(self, refused: Refused) -> CopiedMessage:
        message = refused.message
        unreadable = Unreadable(
            message.topic, message.partition, message.offset, message.key, message.value, refused.kind, refused.reason,
            card_number=refused.kind == CARD_NUMBER,
        )  # fmt: skip
        letter = self._letters.letter(unreadable, self._settings.topics.max_message_bytes - _OVERHEAD)
        return CopiedMessage(self._to[Name.DLQ], letter.value, letter.key, letter.headers)
