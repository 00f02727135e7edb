"""Vedette's events as Protobuf messages, built at run time from the files of `vedette schema --format protobuf`."""

import re
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from vedette.event_schemas import NAMESPACE, file_name, protobuf_file
from vedette.events import Event

_OPEN = re.compile(r"(message|oneof) (\w+) \{")
_FIELD = re.compile(r"(?:(optional|repeated) )?(\w+|map<string, (\w+)>) (\w+) = (\d+);")
_SCALARS = {
    "int64": FieldDescriptorProto.TYPE_INT64, "double": FieldDescriptorProto.TYPE_DOUBLE,
    "bool": FieldDescriptorProto.TYPE_BOOL, "string": FieldDescriptorProto.TYPE_STRING,
}  # fmt: skip


def message_class(event: type[Event]) -> type[Message]:
    """Return the class of an event's Protobuf messages."""
    file = FileDescriptorProto(name=file_name(event, "protobuf"), package=NAMESPACE, syntax="proto3")
    lines = (line.partition("//")[0].strip() for line in protobuf_file(event).splitlines())
    for line in lines:
        if opened := _OPEN.fullmatch(line):
            _read_message(lines, file.message_type.add(name=opened[2]), f".{NAMESPACE}.{opened[2]}")
    pool = DescriptorPool()
    pool.Add(file)
    found: type[Message] = GetMessageClass(pool.FindMessageTypeByName(f"{NAMESPACE}.{event.__name__}"))
    return found


def _read_message(lines: Iterator[str], message: DescriptorProto, path: str) -> None:
    """Fill a message from the lines up to its end."""
    absent: list[FieldDescriptorProto] = []
    oneof: int | None = None
    for line in lines:
        if opened := _OPEN.fullmatch(line):
            if opened[1] == "message":
                _read_message(lines, message.nested_type.add(name=opened[2]), f"{path}.{opened[2]}")
            else:
                oneof = len(message.oneof_decl)
                message.oneof_decl.add(name=opened[2])
        elif line == "}":
            if oneof is None:
                break
            oneof = None
        elif found := _FIELD.fullmatch(line):
            field = _field(message, path, found.groups())
            if oneof is not None:
                field.oneof_index = oneof
            elif found[1] == "optional":
                absent.append(field)
    for field in absent:  # as the compiler does it, after the oneofs of the file
        field.proto3_optional, field.oneof_index = True, len(message.oneof_decl)
        message.oneof_decl.add(name=f"_{field.name}")


def _field(message: DescriptorProto, path: str, found: tuple[Any, ...]) -> FieldDescriptorProto:
    label, kind, of_map, name, number = found
    field = message.field.add(name=name, number=int(number), json_name=name)
    field.label = FieldDescriptorProto.LABEL_REPEATED if label == "repeated" else FieldDescriptorProto.LABEL_OPTIONAL
    if of_map:
        kind = "".join(part.capitalize() for part in name.split("_")) + "Entry"
        entry = message.nested_type.add(name=kind)
        entry.options.map_entry = True
        for place, (part, inner) in enumerate((("key", "string"), ("value", of_map)), start=1):
            _typed(entry.field.add(name=part, number=place, label=FieldDescriptorProto.LABEL_OPTIONAL), inner, path)
        field.label = FieldDescriptorProto.LABEL_REPEATED
    return _typed(field, kind, path)


def _typed(field: FieldDescriptorProto, kind: str, path: str) -> FieldDescriptorProto:
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f"{path}.{kind}"
    return field
