import copy
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import msgspec
import pytest
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from avro.schema import parse
from typer.testing import CliRunner

from cli.main import app
from vedette.event_schemas import NUMBERS, avro_schema, broken, file_name, protobuf_file, renumbered
from vedette.events import EVENTS, Decision, Event, Reason, Transaction

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
_REASON = Reason(code="x", text="x", weight=1.5, values={"whole": 3, "share": 0.5, "name": "é"}, texts={"es": "y"})
DECISION = Decision(
    transaction_id="t", account_id="a", event_time=1_700_000_000_000, amount=5, currency="EUR", action="review",
    score=0.5, expected_loss=2, reasons=[_REASON], rules=[], model="m", policy="p", features_hash="h", payee="é",
)  # fmt: skip


def both_ways(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether Apache Avro's own checker lets each read what the other wrote."""
    return all(
        ReaderWriterCompatibilityChecker()
        .get_compatibility(parse(json.dumps(one)), parse(json.dumps(two)))
        .compatibility
        is SchemaCompatibilityType.compatible
        for one, two in ((old, new), (new, old))
    )


@pytest.mark.parametrize("event", EVENTS)
def test_published_schemas_are_those_of_the_events_and_stay_compatible(event: type[Event]) -> None:
    """docs/schemas has the current files, and a change of an event keeps readers and writers of both.

    `vedette schema --format avro --output docs/schemas`, and the same with protobuf, write them.
    """
    avro, proto = (SCHEMAS / file_name(event, form) for form in ("avro", "protobuf"))
    published = json.loads(avro.read_text(encoding="utf-8"))
    assert broken(published, avro_schema(event)) == []
    assert both_ways(published, avro_schema(event))
    assert renumbered(proto.read_text(encoding="utf-8"), protobuf_file(event)) == []
    assert published == avro_schema(event)
    assert proto.read_text(encoding="utf-8") == protobuf_file(event)


def test_a_decision_survives_avro() -> None:
    """An event written by the schema is read back equal; absent fields are absent or empty."""
    schema = fastavro.parse_schema(avro_schema(Decision))
    file = BytesIO()
    fastavro.schemaless_writer(file, schema, msgspec.to_builtins(DECISION))
    file.seek(0)
    read = fastavro.schemaless_reader(file, schema, None)
    assert msgspec.convert({key: value for key, value in read.items() if value is not None}, Decision) == DECISION


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda fields: fields.pop(0), ["transaction_id is gone, and has no default"]),
        (lambda fields: fields.append({"name": "new", "type": "string"}), ["new is new, and has no default"]),
        (lambda fields: fields[2].update(type="string"), ["amount changed its type from long to string"]),
        (lambda fields: fields.append({"name": "new", "type": ["null", "string"], "default": None}), []),
        (lambda fields: fields.pop(5), []),
    ],
)
def test_only_fields_with_a_default_come_and_go(change: Any, said: list[str]) -> None:
    """The check agrees with Apache Avro's own."""
    old = avro_schema(Transaction)
    new = copy.deepcopy(old)
    change(new["fields"])
    assert broken(old, new) == said
    assert both_ways(old, new) == (not said)


def test_numbers_of_protobuf_fields_stay() -> None:
    """A number that another field reuses is reported; an event with an unnumbered field cannot be published."""
    text = protobuf_file(Transaction)
    assert renumbered(text, text.replace("string currency = 4;", "string coin = 4;")) == [
        "number 4 was string currency and is string coin"
    ]
    assert {event.__name__ for event in EVENTS} | {"Reason"} == set(NUMBERS)


def test_the_command_prints_writes_and_checks(tmp_path: Path) -> None:
    """The exit code is 1 for a change that breaks readers, and 2 for an unknown format."""
    runner = CliRunner()
    assert json.loads(runner.invoke(app, ["schema", "decision", "--format", "avro"]).output)["name"] == "Decision"
    written = runner.invoke(app, ["schema", "--format", "protobuf", "--output", str(tmp_path)])
    assert (written.exit_code, len(list(tmp_path.iterdir()))) == (0, len(EVENTS))
    command = ["schema", "--format", "protobuf", "--check", str(tmp_path)]
    assert runner.invoke(app, command).exit_code == 0
    file = tmp_path / "alert.proto"
    file.write_text(file.read_text().replace("string alert_id = 1;", "int64 alert_id = 1;"))
    refused = runner.invoke(app, [*command, "--json"])
    assert refused.exit_code == 1
    assert json.loads(refused.stdout) == {"alert.proto": ["number 1 was int64 alert_id and is string alert_id"]}
