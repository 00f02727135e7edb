"""The tables of the archive: one per topic, with a column per event field and the message's position in Kafka."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import msgspec
import pyarrow as pa
from msgspec import UNSET, inspect

from archive.columns import PLACE, TIME, US_PER_MS, PublishedMessage, Table, place
from archive.control_table import ControlTable
from archive.feature_table import FeatureTable
from vedette.card_numbers import REFUSE, CardNumbers
from vedette.errors import CardNumberError
from vedette.events import Alert, CallCheck, Challenge, ClosedIncident, Decision, Event, Label, Transaction
from vedette.reading import UNREADABLE
from vedette.topics import Name


@dataclass(frozen=True)
class EventTable:
    """A topic of events as a table.

    Args:
        topic: The topic, without prefix; also the table's name.
        event: The type of its messages.
        dated_by: The field of the event whose UTC day is the row's partition.
        expires: See `archive.columns.Table`.
        cards: What happens to identifiers of transactions and labels that are card numbers.
    """

    topic: Name
    event: type[Event]
    dated_by: str
    expires: bool = True
    cards: CardNumbers = REFUSE

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns: those of the event, then the message's place and the day."""
        info = inspect.type_info(self.event)
        assert isinstance(info, inspect.StructType)  # noqa: S101, every event is a Struct
        fields = [pa.field(field.name, _arrow_type(field.name, field.type)) for field in info.fields]
        of_reasons = _OF_REASONS if _REASONS in self.event.__struct_fields__ else {}
        return pa.schema([*fields, *(pa.field(name, kind) for name, (_, kind) in of_reasons.items()), *PLACE])

    def rows(self, messages: Sequence[PublishedMessage]) -> tuple[pa.Table, list[PublishedMessage]]:
        """Convert messages of the topic to rows.

        Returns:
            The rows, in the order of the messages, and the messages that are not an event of this type.
        """
        decoder = msgspec.json.Decoder(self.event)
        events: list[Event] = []
        kept: list[PublishedMessage] = []
        rejected: list[PublishedMessage] = []
        for message in messages:
            try:
                event = decoder.decode(message.value or b"")
                events.append(self.cards.admit(event) if isinstance(event, Transaction | Label) else event)
            except (*UNREADABLE, CardNumberError):
                rejected.append(message)
            else:
                kept.append(message)
        place_names = {field.name for field in PLACE}
        columns = [
            _column([_value(event, field.name) for event in events], field.type)
            for field in self.schema
            if field.name not in place_names
        ]
        dated = columns[self.event.__struct_fields__.index(self.dated_by)]
        return pa.Table.from_arrays([*columns, *place(kept, dated).values()], schema=self.schema), rejected


TABLES: tuple[Table, ...] = (
    EventTable(Name.TRANSACTIONS, Transaction, "event_time"),
    EventTable(Name.DECISIONS, Decision, "event_time"),
    EventTable(Name.LABELS, Label, "event_time"),
    EventTable(Name.ALERTS, Alert, "event_time"),
    EventTable(Name.CHALLENGES, Challenge, "issued_at"),
    EventTable(Name.CALLS, CallCheck, "started_at"),
    EventTable(Name.INCIDENTS, ClosedIncident, "closed_at"),
    FeatureTable(),
    ControlTable(),
)


def tables_of(cards: CardNumbers) -> tuple[Table, ...]:
    """Return TABLES with this treatment of card numbers."""
    return tuple(replace(table, cards=cards) if isinstance(table, EventTable) else table for table in TABLES)


def _value(event: Event, name: str) -> Any:
    """Return the value of a column: reasons are lists of texts, codes and weights, which have the same length."""
    if name == _REASONS or name in _OF_REASONS:
        part = _OF_REASONS[name][0] if name in _OF_REASONS else "text"
        return [getattr(reason, part) for reason in event.reasons]  # type: ignore[attr-defined]
    return getattr(event, name)


def _column(values: Iterable[Any], kind: pa.DataType) -> pa.Array:
    present = [None if value is UNSET else value for value in values]
    if kind == TIME:
        return pa.array([None if ms is None else ms * US_PER_MS for ms in present], pa.int64()).cast(TIME)
    if pa.types.is_map(kind):
        return pa.array([sorted((value or {}).items()) for value in present], kind)
    return pa.array(present, kind)


_REASONS = "reasons"
"""The column of the texts, which is older than the two beside it."""
_OF_REASONS: dict[str, tuple[str, pa.DataType]] = {
    "reason_codes": ("code", pa.list_(pa.field("element", pa.string()))),
    "reason_weights": ("weight", pa.list_(pa.field("element", pa.float64()))),
}

_TYPES: dict[type[inspect.Type], pa.DataType] = {
    inspect.FloatType: pa.float64(),
    inspect.BoolType: pa.bool_(),
    inspect.StrType: pa.string(),
    inspect.LiteralType: pa.string(),
    inspect.ListType: pa.list_(pa.field("element", pa.string())),
    inspect.DictType: pa.map_(pa.string(), pa.float64()),
}


def _arrow_type(name: str, kind: inspect.Type) -> pa.DataType:
    match kind:
        case inspect.Metadata():
            return _arrow_type(name, kind.type)
        case inspect.UnionType():
            (inner,) = (part for part in kind.types if not isinstance(part, inspect.NoneType))
            return _arrow_type(name, inner)
        case inspect.IntType():
            return TIME if name.endswith(("_time", "_at")) else pa.int64()
        case _:
            return _TYPES[type(kind)]
