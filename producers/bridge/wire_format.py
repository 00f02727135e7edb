"""Confluent's wire format: the magic byte and the schema's id before the content."""

MAGIC = b"\x00"
WIRE_BYTES = 5
"""Bytes before the content."""
