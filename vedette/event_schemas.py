"""The events as Avro schemas and as a Protobuf file, derived from their types.

Closed sets, such as the action of a decision, are strings: an enum of either format could not grow without breaking its
readers. Fields that may be absent have a default, so they may come and go; others stay.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import NODEFAULT, inspect

from vedette.errors import VedetteError
from vedette.events import Event

NAMESPACE = "vedette"
_SNAKE = re.compile(r"(?<!^)(?=[A-Z])")

NUMBERS: Mapping[str, tuple[str, ...]] = {
    "Transaction": (
        "transaction_id", "account_id", "amount", "currency", "event_time", "merchant_id", "payee", "mcc", "channel",
        "country", "lat", "lon", "device_id", "ip_address", "balance", "account_type", "account_opened_at", "extra",
        "kind", "original_id",
    ),
    "Label": (
        "transaction_id", "account_id", "fraud", "source", "event_time", "labelled_at", "merchant_id", "device_id",
        "ip_address", "payee",
    ),
    "Decision": (
        "transaction_id", "account_id", "event_time", "amount", "currency", "action", "score", "expected_loss",
        "reasons", "rules", "model", "policy", "features_hash", "degraded", "merchant_id", "payee", "channel",
        "country", "device_id", "ip_address", "final", "follows", "kind", "original_id",
    ),
    "Alert": (
        "alert_id", "transaction_id", "account_id", "event_time", "amount", "currency", "action", "score",
        "expected_loss", "reasons", "merchant_id", "payee", "channel", "country", "device_id", "ip_address", "segment",
        "degraded", "kind",
    ),
    "Challenge": (
        "challenge_id", "transaction_id", "account_id", "amount", "currency", "payee", "status", "factor", "issued_at",
        "expires_at", "settled_at",
    ),
    "CallCheck": (
        "call_id", "account_id", "direction", "status", "representative", "attempts", "started_at", "settled_at",
    ),
    "ClosedIncident": ("incident_id", "account_id", "state", "transaction_ids", "closed_at"),
    "Reason": ("code", "text", "weight", "values", "texts"),
}  # fmt: skip
"""The fields of each event, and of what events contain, in the order of their Protobuf numbers: append new ones, never
remove or move one."""

_VALUE = ["long", "double", "string"]
"""Avro type of a value that is a number or a text; in Protobuf the message Value."""
_VALUE_LINES = (
    "  message Value {", "    oneof kind {", "      int64 whole = 1;", "      double number = 2;",
    "      string text = 3;", "    }", "  }",
)  # fmt: skip


def file_name(event: type[Event], form: str) -> str:
    """Return the name of the file with an event's schema."""
    return f"{_SNAKE.sub('_', event.__name__).lower()}.{'avsc' if form == 'avro' else 'proto'}"


def avro_schema(event: type[Event]) -> dict[str, Any]:
    """Return the Avro schema of an event, or of a struct that events contain."""
    return {
        "type": "record",
        "name": event.__name__,
        "namespace": NAMESPACE,
        "doc": _summary(event),
        "fields": [_avro_field(field) for field in _fields(event)],
    }


def _avro_field(field: inspect.Field) -> dict[str, Any]:
    kind, nullable, doc = _kind(field)
    made: dict[str, Any] = {"name": field.name, "type": ["null", kind] if nullable else kind}
    if doc:
        made["doc"] = doc
    if nullable:
        made["default"] = None
    elif not field.required:
        made["default"] = field.default_factory() if field.default is NODEFAULT else field.default
    return made


def protobuf_file(event: type[Event]) -> str:
    """Return the text of a Protobuf file (proto3) with an event.

    Raises:
        VedetteError: A field has no number.
    """
    head = ['syntax = "proto3";', "", f"package {NAMESPACE};", ""]
    return "\n".join([*head, *_message(event), ""])


def _message(event: type[Event]) -> list[str]:
    """Return the lines of a message; what it contains stands inside, so that files can be used together."""
    numbers = {name: number for number, name in enumerate(NUMBERS[event.__name__], start=1)}
    lines = [f"// {_summary(event)}", f"message {event.__name__} {{"]
    fields = []
    for field in sorted(_fields(event), key=lambda field: numbers.get(field.name, 0)):
        if field.name not in numbers:
            raise VedetteError(f"{event.__name__}.{field.name} has no Protobuf number", remedy="append it to NUMBERS")
        kind, nullable, doc = _kind(field)
        if (inside := _struct_in(field.type)) is not None:
            lines += [f"  {line}" for line in _message(inside)]
        if isinstance(kind, dict) and kind.get("values") == _VALUE:
            lines += _VALUE_LINES
        comment = f" // {doc}" if doc else ""
        fields.append(f"  {_protobuf_type(kind, nullable)} {field.name} = {numbers[field.name]};{comment}")
    return [*lines, *fields, "}"]


def _protobuf_type(kind: Any, nullable: bool) -> str:
    if isinstance(kind, dict):
        inner = _protobuf_name(kind["items"] if "items" in kind else kind["values"])
        return f"repeated {inner}" if "items" in kind else f"map<string, {inner}>"
    return f"optional {_protobuf_name(kind)}" if nullable else _protobuf_name(kind)


def _protobuf_name(kind: Any) -> str:
    if isinstance(kind, dict):
        return str(kind["name"])
    return "Value" if kind == _VALUE else {"long": "int64", "boolean": "bool"}.get(kind, kind)


def _struct_in(kind: inspect.Type) -> type[Event] | None:
    """Return the struct of which a field holds a list, if any; beside it, a text is the form of earlier versions."""
    while isinstance(kind, inspect.Metadata | inspect.ListType):
        kind = kind.type if isinstance(kind, inspect.Metadata) else kind.item_type
    parts = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    return next(
        (part.cls for part in parts if isinstance(part, inspect.StructType) and issubclass(part.cls, Event)), None
    )


def broken(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return why readers or writers of one Avro schema cannot work with the other, or nothing.

    A field may be added or removed only if it has a default, and keeps its type. Both schemas are of this module.
    """
    before, after = ({field["name"]: field for field in schema["fields"]} for schema in (old, new))
    found = [
        f"{name} changed its type from {before[name]['type']} to {after[name]['type']}"
        for name in before
        if name in after and before[name]["type"] != after[name]["type"]
    ]
    found += [f"{name} is gone, and has no default" for name in before if name not in after and _required(before[name])]
    found += [f"{name} is new, and has no default" for name in after if name not in before and _required(after[name])]
    return found


def renumbered(old: str, new: str) -> list[str]:
    """Return which fields of a Protobuf file changed number or type, or whose number was taken over by another."""
    before, after = (
        {int(number): (kind, name) for kind, name, number in _PROTO_FIELD.findall(text)} for text in (old, new)
    )
    return [
        f"number {number} was {' '.join(before[number])} and is {' '.join(after[number])}"
        for number in before
        if number in after and before[number] != after[number]
    ]


_PROTO_FIELD = re.compile(r"^  (\S.*) (\w+) = (\d+);", re.MULTILINE)


def _required(field: Mapping[str, Any]) -> bool:
    return "default" not in field


def _fields(event: type[Event]) -> Sequence[inspect.Field]:
    info = inspect.type_info(event)
    if not isinstance(info, inspect.StructType):
        raise VedetteError(f"{event.__name__} is not a struct")
    return info.fields


def _summary(event: type[Event]) -> str:
    return (event.__doc__ or "").strip().partition("\n")[0]


def _kind(field: inspect.Field) -> tuple[Any, bool, str]:
    """Return the Avro type of a field, whether it may be absent, and its description."""
    kind, nullable, doc = _described(field.type, "")
    unset = (
        not field.required and field.default is NODEFAULT and field.default_factory is NODEFAULT
    )  # its default: UNSET
    return kind, nullable or unset, doc


def _described(  # noqa: PLR0911, one return for each form
    kind: inspect.Type, doc: str
) -> tuple[Any, bool, str]:
    if isinstance(kind, inspect.Metadata):
        extra = kind.extra_json_schema or {}
        return _described(kind.type, doc or str(extra.get("description", "")))
    if isinstance(kind, inspect.UnionType):
        given = [part for part in kind.types if not isinstance(part, inspect.NoneType)]
        if len(given) == 1:
            inner, _, described = _described(given[0], doc)
            return inner, True, described
        if (inside := _struct_in(kind)) is not None:
            return avro_schema(inside), False, doc
        if {type(part) for part in given} == {inspect.IntType, inspect.FloatType, inspect.StrType}:
            return _VALUE, False, doc
    if isinstance(kind, inspect.ListType):
        return {"type": "array", "items": _described(kind.item_type, "")[0]}, False, doc
    if isinstance(kind, inspect.DictType):
        return {"type": "map", "values": _described(kind.value_type, "")[0]}, False, doc
    for known, name in _NAMES:
        if isinstance(kind, known):
            return name, False, doc
    raise VedetteError(f"{kind} has no form in Avro", remedy="extend vedette.event_schemas")


_NAMES: tuple[tuple[type[inspect.Type], str], ...] = (
    (inspect.BoolType, "boolean"),
    (inspect.IntType, "long"),
    (inspect.FloatType, "double"),
    (inspect.StrType, "string"),
    (inspect.LiteralType, "string"),
)
