"""Messages in Avro and Protobuf by a schema registry, read by Confluent's own deserializers."""

import base64
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import httpx
from confluent_kafka.schema_registry import Schema, SchemaRegistryError
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import any_pb2, duration_pb2, empty_pb2, struct_pb2, timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict
from google.protobuf.message_factory import GetMessageClass

from adapters.schema_registry import registry_client
from producers.bridge.wire_format import MAGIC, WIRE_BYTES
from vedette.errors import UnavailableError
from vedette.settings import SchemaSettings

_NOT_FOUND = 404
_WELL_KNOWN = (any_pb2, duration_pb2, empty_pb2, struct_pb2, timestamp_pb2, wrappers_pb2)
_CACHED = 200


class _SchemaDecoder:
    """What both formats share: the framing, and which errors are the message's fault.

    Args:
        topic: The foreign topic.
        schemas: The schema registry.
    """

    def __init__(self, topic: str, schemas: SchemaSettings) -> None:
        self._client = registry_client(schemas)
        self._url = schemas.url
        self._context = SerializationContext(topic, MessageField.VALUE)

    def __call__(self, value: bytes) -> dict[str, Any]:
        """Return the record of a message.

        Raises:
            ValueError: It is not valid, or the registry does not know its schema.
            UnavailableError: The registry does not answer.
        """
        if not value.startswith(MAGIC):
            raise ValueError("does not begin with the magic byte 0 and the id of a schema")
        number = int.from_bytes(value[1:WIRE_BYTES], "big")
        try:
            found = self._read(value, number)
        except SchemaRegistryError as error:
            if error.http_status_code == _NOT_FOUND:
                raise ValueError(f"has schema id {number}, which is not in the registry") from error
            raise self._away(f"{error.http_status_code} {error.error_message}") from error
        except httpx.HTTPError as error:
            raise self._away(str(error) or type(error).__name__) from error
        except Exception as error:
            raise ValueError(f"is not valid by schema {number}: {type(error).__name__}: {error}") from error
        if not isinstance(found, Mapping):
            raise ValueError(f"is not a record but {type(found).__name__}")  # noqa: TRY004, about the message
        return dict(found)

    def close(self) -> None:
        """Close the connection to the registry."""
        self._client.__exit__(None, None, None)

    def _read(self, value: bytes, number: int) -> Any:
        raise NotImplementedError

    def _away(self, reason: str) -> UnavailableError:
        return UnavailableError(
            f"the schema registry at {self._url} does not answer: {reason}", remedy="check [schemas] and the registry"
        )


class AvroDecoder(_SchemaDecoder):
    """Reads Avro records by the schema that wrote them."""

    def __init__(self, topic: str, schemas: SchemaSettings) -> None:
        super().__init__(topic, schemas)
        self._deserialize = AvroDeserializer(self._client)

    def _read(self, value: bytes, number: int) -> Any:
        del number
        return self._deserialize(value, self._context)


class ProtobufDecoder(_SchemaDecoder):
    """Reads Protobuf messages by the descriptors of the registry; fields keep the names of the schema."""

    def __init__(self, topic: str, schemas: SchemaSettings) -> None:
        super().__init__(topic, schemas)
        self._deserializer = lru_cache(_CACHED)(self._make)

    def _read(self, value: bytes, number: int) -> Any:
        message = self._deserializer(number, _indexes(value[WIRE_BYTES:]))(value, self._context)
        return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)

    def _make(self, number: int, indexes: tuple[int, ...]) -> Any:
        """Return the deserializer of one message type of a schema."""
        schema = self._client.get_schema(number, fmt="serialized")
        pool = DescriptorPool()
        for module in _WELL_KNOWN:
            pool.Add(_file(base64.b64encode(module.DESCRIPTOR.serialized_pb).decode(), module.DESCRIPTOR.name))
        self._add_references(pool, schema, set())
        file = _file(schema.schema_str, "message.proto")
        pool.Add(file)
        kind: Any = pool.FindFileByName(file.name)
        first, *others = indexes
        kind = list(kind.message_types_by_name.values())[first]
        for index in others:
            kind = kind.nested_types[index]
        return ProtobufDeserializer(GetMessageClass(kind), {"use.deprecated.format": False}, self._client)

    def _add_references(self, pool: Any, schema: Schema, added: set[str]) -> None:
        for reference in schema.references or []:
            if reference.name in added:
                continue
            added.add(reference.name)
            found = self._client.get_version(reference.subject, reference.version, fmt="serialized").schema
            self._add_references(pool, found, added)
            pool.Add(_file(found.schema_str, reference.name))


def _file(serialized: str, name: str) -> FileDescriptorProto:
    file = FileDescriptorProto()
    file.ParseFromString(base64.b64decode(serialized, validate=True))
    file.name = name
    return file


def _indexes(content: bytes) -> tuple[int, ...]:
    """Return the way to a message's type through its file: a count, then as many indexes, as zigzag varints."""
    numbers = _varints(content)
    count = next(numbers)
    return tuple(next(numbers) for _ in range(count)) or (0,)


def _varints(content: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in content:
        number |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            yield (number >> 1) ^ -(number & 1)
            number = shift = 0
