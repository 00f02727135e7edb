"""Columns common to all tables of the archive: position of the message in Kafka, and day of its event."""

from collections.abc import Sequence
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from vedette.topics import Name

SCHEMA_VERSION = 1
"""Version of the columns, stored in the properties of a table."""

DAY = "day"
"""The partition column: the UTC day of the event, whenever it arrived."""

TIME = pa.timestamp("us", tz="UTC")
US_PER_MS = 1000
PLACE = (
    pa.field("kafka_partition", pa.int32(), nullable=False),
    pa.field("kafka_offset", pa.int64(), nullable=False),
    pa.field("produced_at", TIME, nullable=False),
    pa.field(DAY, pa.date32(), nullable=False),
)


class PublishedMessage(Protocol):
    """A Kafka message."""

    @property
    def partition(self) -> int:
        """Its partition."""

    @property
    def offset(self) -> int:
        """Its offset in the partition."""

    @property
    def timestamp(self) -> int:
        """Return the time at which it was produced, milliseconds since 1970-01-01 UTC."""

    @property
    def value(self) -> bytes | None:
        """Its content."""


class Table(Protocol):
    """A topic as a table."""

    @property
    def topic(self) -> Name:
        """The topic, without prefix; also the table's name."""

    @property
    def expires(self) -> bool:
        """Whether its rows are deleted once they are older than the retention."""

    @property
    def schema(self) -> pa.Schema:
        """The columns that every row has."""

    def rows(self, messages: Sequence[PublishedMessage]) -> tuple[pa.Table, list[PublishedMessage]]:
        """Return messages of the topic as rows, in their order, and the messages that are not valid."""


def place(messages: Sequence[PublishedMessage], dated: pa.Array) -> dict[str, pa.Array]:
    """Return the columns of PLACE.

    Args:
        messages: The message of each of n rows.
        dated: timestamp[n], the time whose UTC day is the row's partition.
    """
    produced = pa.array([message.timestamp * US_PER_MS for message in messages], pa.int64()).cast(TIME)
    columns = (
        pa.array([message.partition for message in messages], pa.int32()),
        pa.array([message.offset for message in messages], pa.int64()),
        produced,
        pc.floor_temporal(dated, unit="day").cast(pa.date32()),
    )
    return {field.name: column for field, column in zip(PLACE, columns, strict=True)}
