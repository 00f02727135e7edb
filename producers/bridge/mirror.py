"""The other direction: Vedette's decisions and alerts in Avro or Protobuf, on topics of their own, exactly once."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import httpx
import msgspec
from confluent_kafka.schema_registry import SchemaRegistryError
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf.json_format import ParseDict

from adapters.schema_registry import registry_client
from producers.bridge.copying import CopiedMessage, CopyProgress, ForeignMessage, TransactionalCopy
from producers.bridge.protobuf_descriptors import message_class
from vedette.clock import Clock
from vedette.errors import InputError, UnavailableError
from vedette.event_schemas import avro_schema
from vedette.events import Alert, Challenge, ClosedIncident, Decision, Event
from vedette.reading import UNREADABLE
from vedette.settings import SchemaSettings, Settings
from vedette.topics import Name

MIRRORED: Mapping[str, type[Event]] = {
    Name.DECISIONS: Decision, Name.ALERTS: Alert, Name.CHALLENGES: Challenge, Name.INCIDENTS: ClosedIncident,
}  # fmt: skip
"""The topics that are mirrored, and their events."""


class MirrorFormat(StrEnum):
    """A format of mirrored topics."""

    AVRO = "avro"
    PROTOBUF = "protobuf"


class EventWriter:
    """Writes events of one kind in Confluent's wire format; the schema is registered with the first one.

    Args:
        event: The kind of event.
        topic: The topic for which the schema is registered, as `<topic>-value`.
        schemas: The schema registry.
        form: The format.

    Raises:
        InputError: No registry is named.
    """

    def __init__(
        self, event: type[Event], topic: str, schemas: SchemaSettings, form: MirrorFormat = MirrorFormat.AVRO
    ) -> None:
        if not schemas.url:
            raise InputError("a mirror needs a schema registry", remedy="give --registry or [schemas] url")
        self._decoder = msgspec.json.Decoder(event)
        self._client, self._url = registry_client(schemas), schemas.url
        self._serialize: Callable[[Any, SerializationContext], Any]
        if form is MirrorFormat.AVRO:
            self._serialize = AvroSerializer(self._client, json.dumps(avro_schema(event)))
        else:
            kind = message_class(event)
            serializer = ProtobufSerializer(kind, self._client, {"use.deprecated.format": False})
            self._serialize = lambda fields, context: serializer(ParseDict(_in_protobuf(fields), kind()), context)
        self._context = SerializationContext(topic, MessageField.VALUE)

    def __call__(self, value: bytes) -> bytes:
        """Return an event in the format.

        Raises:
            ValueError: The message is no event of this kind.
            UnavailableError: The registry does not answer, or refuses the schema.
        """
        try:
            event = self._decoder.decode(value)
        except UNREADABLE as error:
            raise ValueError(str(error)) from error
        try:
            written: bytes = self._serialize(msgspec.to_builtins(event), self._context)
        except (SchemaRegistryError, httpx.HTTPError) as error:
            raise UnavailableError(
                f"the schema registry at {self._url} does not take the schema of {self._context.topic}: {error}",
                remedy="check [schemas], and the compatibility that the registry demands",
            ) from error
        return written

    def close(self) -> None:
        """Close the connection to the registry."""
        self._client.__exit__(None, None, None)


def _in_protobuf(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an event as Protobuf's JSON form has them: a value names its type."""
    reasons = fields.get("reasons")
    return dict(fields) | ({"reasons": [_reason(reason) for reason in reasons]} if reasons else {})


def _reason(reason: dict[str, Any] | str) -> dict[str, Any]:
    if isinstance(reason, str):  # as it was written before reasons had codes
        return {"text": reason}
    values = {name: {_VALUES[type(value)]: value} for name, value in reason.get("values", {}).items()}
    return reason | ({"values": values} if values else {})


_VALUES = {int: "whole", float: "number", str: "text"}
"""Python's type of a reason's value, and its field in the message Value."""


@dataclass
class MirrorProgress(CopyProgress):
    """Counts since the start; those of messages are committed.

    Attributes:
        mirrored: Messages mirrored, tombstones among them.
        refused: Messages that are no event of their topic, which is a defect of what wrote them.
    """

    mirrored: int = 0
    refused: int = 0


@dataclass(slots=True)
class _Mirrored:
    messages: list[tuple[ForeignMessage, bytes | None]] = field(default_factory=list)
    refused: int = 0


class Mirror(TransactionalCopy[MirrorProgress, _Mirrored]):
    """One run of a mirror; see TransactionalCopy. Messages keep key, partition and order.

    Args:
        settings: The broker, the topics' prefix and `[bridge]`.
        name: One of MIRRORED.
        target: The topic to write, by its full name, with as many partitions as the other.
        instance: Name of this process in the group.
        write: Writes an event.
        progress: The counts to update.
        clock: Tells when something was committed.
        log: A structlog logger.
    """

    def __init__(
        self, settings: Settings, name: str, target: str, instance: str, write: EventWriter, progress: MirrorProgress,
        clock: Clock, log: Any,
    ) -> None:  # fmt: skip
        self._target, self._write = target, write
        topic = settings.topics.prefix + name
        super().__init__(
            settings, topic, {target: settings.topics.partitions}, group=f"{settings.bridge.group}-{topic}-{target}",
            instance=instance, progress=progress, clock=clock, log=log,
        )  # fmt: skip

    def _convert(self, messages: list[ForeignMessage]) -> _Mirrored:
        given = _Mirrored()
        for message in messages:
            try:
                given.messages.append((message, None if message.value is None else self._write(message.value)))
            except ValueError as error:
                given.refused += 1
                self._log.error(
                    "message not mirrored", topic=message.topic, partition=message.partition, offset=message.offset,
                    reason=str(error),
                )  # fmt: skip
        return given

    def _outgoing(self, given: _Mirrored) -> Iterator[CopiedMessage]:
        for message, value in given.messages:
            yield CopiedMessage(self._target, value, message.key, partition=message.partition)

    def _count(self, given: _Mirrored) -> None:
        self._progress.mirrored += len(given.messages)
        self._progress.refused += given.refused
