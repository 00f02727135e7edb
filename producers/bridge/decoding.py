"""Values of foreign messages as records."""

from typing import Any, Protocol

from adapters.extras import needs_extra
from producers.bridge.wire_format import MAGIC, WIRE_BYTES
from producers.json_lines import parse_json
from vedette.errors import InputError
from vedette.settings import SchemaSettings


class Decode(Protocol):
    """Reads the values of messages as records."""

    def __call__(self, value: bytes) -> dict[str, Any]:
        """Return a record.

        Raises:
            ValueError: The message is not valid; the text is the reason.
            UnavailableError: What is needed to read it does not answer.
        """
        ...

    def close(self) -> None:
        """Close its connections."""
        ...


class JsonDecoder:
    """Reads JSON objects, with or without the id of a schema before them."""

    def __call__(self, value: bytes) -> dict[str, Any]:
        """See Decode."""
        return parse_json(value[WIRE_BYTES:] if value.startswith(MAGIC) else value)

    def close(self) -> None:
        """Do nothing: it has no connections."""


def decoder(form: str, topic: str, schemas: SchemaSettings) -> Decode:
    """Return the function that reads the messages of a topic.

    Args:
        form: `json`, `avro` or `protobuf`; the last two in Confluent's wire format.
        topic: The foreign topic.
        schemas: The schema registry.

    Raises:
        InputError: There is no such format, or it needs a registry and none is named.
        UnavailableError: The extra `schemas` is not installed.
    """
    if form == "json":
        return JsonDecoder()
    if form not in ("avro", "protobuf"):
        raise InputError(f"messages cannot be read as {form!r}", remedy="one of json, avro, protobuf")
    if not schemas.url:
        raise InputError(f"messages in {form} need a schema registry", remedy="give --registry or [schemas] url")
    with needs_extra("schemas", f"a topic in {form}"):
        from producers.bridge.schema_decoding import AvroDecoder, ProtobufDecoder  # noqa: PLC0415, an optional extra
    return AvroDecoder(topic, schemas) if form == "avro" else ProtobufDecoder(topic, schemas)
