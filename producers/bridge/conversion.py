"""From a batch of foreign messages to transactions, labels and dead letters, by a mapping."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from producers import records
from producers.bridge.copying import ForeignMessage
from producers.bridge.decoding import Decode
from producers.converter import IS_CARD_NUMBER, Converter
from producers.frame import rows_to_labels, rows_to_transactions
from producers.mapping import Mapping
from vedette.card_numbers import REFUSE, CardNumbers, masked
from vedette.errors import CardNumberError, InputError
from vedette.events import Label, Transaction

CARD_NUMBER = CardNumberError.__name__
"""Kind of a refusal because of a card number."""
METADATA = ("$topic", "$partition", "$offset", "$timestamp", "$key")
"""Names by which a mapping reaches what a message has beside its value."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that gives no transaction, with the reason."""

    message: ForeignMessage
    reason: str
    kind: str = "ValidationError"
    """Name of the kind of error."""


@dataclass(slots=True)
class Bridged:
    """What a batch of messages gives."""

    transactions: list[Transaction] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    tombstones: int = 0
    left_out: int = 0
    """Messages that the mapping's `where` leaves out."""


class Conversion:
    """Applies a mapping to messages.

    Args:
        mapping: The mapping; its columns are paths into the messages, or METADATA.
        decode: Reads the value of a message.
        cards: What happens to identifiers that are card numbers.

    Raises:
        InputError: The mapping counts rows, which a topic has no first one of.
    """

    def __init__(self, mapping: Mapping, decode: Decode, cards: CardNumbers = REFUSE) -> None:
        for name, source in mapping.fields.items():
            if source.row_number:
                raise InputError(
                    f"mapping {mapping.name}: {name} is a row's number, and the messages of a topic have none",
                    remedy='take the message\'s own id, or columns = ["$partition", "$offset"]',
                )
        self._mapping = mapping
        self._decode = decode
        self._converter = Converter(mapping, None, None, cards)

    def convert(self, messages: Sequence[ForeignMessage]) -> Bridged:
        """Return the events of messages, in their order.

        Raises:
            UnavailableError: What is needed to read them does not answer.
        """
        result = Bridged()
        rows: list[dict[str, Any]] = []
        good: list[ForeignMessage] = []
        for message in messages:
            if message.value is None:
                result.tombstones += 1
                continue
            try:
                rows.append(self._decode(message.value) | _metadata(message))
                good.append(message)
            except ValueError as error:
                result.refused.append(Refused(message, masked(str(error))))
        if not rows:
            return result

        def refuse(row: int, column: str, value: str, reason: str) -> None:
            kind = CARD_NUMBER if reason == IS_CARD_NUMBER else "ValidationError"
            result.refused.append(Refused(good[row], masked(f"{column or 'the message'} {value!r} {reason}"), kind))

        table, wrong = records.table(rows, self._mapping.columns())
        before = len(result.refused)
        frame = self._converter.convert(table, np.arange(1, len(rows) + 1), refuse, wrong)
        result.left_out = len(rows) - frame.num_rows - (len(result.refused) - before)
        if frame.num_rows:
            result.transactions = rows_to_transactions(frame)
            result.labels = rows_to_labels(frame, self._mapping.name)
        return result


def _metadata(message: ForeignMessage) -> dict[str, Any]:
    key = None if message.key is None else message.key.decode("utf-8", errors="backslashreplace")
    found = (message.topic, message.partition, message.offset, message.timestamp, key)
    return dict(zip(METADATA, found, strict=True))
