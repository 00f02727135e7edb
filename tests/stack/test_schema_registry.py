import json
from typing import Any

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from stack.schema_registry import SchemaRegistry


def test_the_registry_keeps_to_its_compatibility() -> None:
    """A field without a default cannot be added, and one with a default can; both are found by id and by subject."""
    with SchemaRegistry() as running, SchemaRegistryClient({"url": running.url}) as client:

        def schema(*fields: dict[str, Any]) -> Schema:
            first = {"name": "a", "type": "int"}
            return Schema(json.dumps({"type": "record", "name": "R", "fields": [first, *fields]}), "AVRO")

        one = client.register_schema("s-value", schema())
        assert client.register_schema("s-value", schema()) == one
        assert not client.test_compatibility("s-value", schema({"name": "b", "type": "int"}))
        two = client.register_schema("s-value", schema({"name": "b", "type": "int", "default": 0}))
        assert (client.get_versions("s-value"), client.get_latest_version("s-value").schema_id) == ([1, 2], two)
