"""Changing the entries of a list in the text of a policy, which keeps its comments and order."""

from collections.abc import Mapping
from pathlib import Path

import yaml

from adapters.yaml_document import Document
from decisions.policy_file import list_lines
from vedette.control import POLICY_FILE
from vedette.errors import InputError, PolicyError

LONGEST = 128
"""Characters of an entry."""


def with_entry(files: Mapping[str, str], name: str, value: str, note: str = "") -> dict[str, str]:
    """Return the files of a policy with a value added to one of its lists.

    Args:
        files: See decisions.policy_record.
        name: Name of the list.
        value: The value.
        note: A comment beside it, in a list that is a file.

    Raises:
        InputError: There is no such list, it has the value already, or the value cannot be written.
        PolicyError: The policy is not YAML.
    """
    value = _checked(value)
    entry = _entry(files, name)
    if value in _values(files, entry):
        raise InputError(f"the list {name} has {value!r} already")
    if file := _scalar(entry, "file"):
        text = files.get(file, "")
        comment = f"  # {' '.join(note.split())}" if note.strip() else ""
        return {**files, file: f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}{value}{comment}\n"}
    items = _items(entry)
    text = files[POLICY_FILE]
    last, quoted = items.value[-1], _quoted(value)
    if items.flow_style:
        at, added = last.end_mark.index, f", {quoted}"
    else:  # a line of its own, after the last one with its comment
        line = text.rfind("\n", 0, last.start_mark.index) + 1
        at = text.find("\n", last.end_mark.index) % (len(text) + 1)
        added = f"\n{text[line:].partition('-')[0]}- {quoted}"
    return {**files, POLICY_FILE: text[:at] + added + text[at:]}


def without_entry(files: Mapping[str, str], name: str, value: str) -> dict[str, str]:
    """Return the files of a policy with a value removed from one of its lists.

    Raises:
        InputError: There is no such list, it does not have the value, or has no other: a list is never empty.
        PolicyError: The policy is not YAML.
    """
    entry = _entry(files, name)
    if value not in (values := _values(files, entry)):
        raise InputError(f"the list {name} does not have {value!r}")
    if len(values) == 1:
        raise InputError(f"{value!r} is the only entry of the list {name}", remedy="remove the list itself")
    if file := _scalar(entry, "file"):
        kept = [line for line in files[file].splitlines(keepends=True) if value not in list_lines(line)]
        return {**files, file: "".join(kept)}
    items, text = _items(entry), files[POLICY_FILE]
    place = next(number for number, item in enumerate(items.value) if item.value.strip() == value)
    start, end = items.value[place].start_mark.index, items.value[place].end_mark.index
    if not items.flow_style:  # the whole line, with its dash and its comment
        start = text.rfind("\n", 0, start)
        following = text.find("\n", end)
        return {**files, POLICY_FILE: text[:start] + (text[following:] if following >= 0 else "")}
    if place:
        start = items.value[place - 1].end_mark.index
    else:
        end = items.value[1].start_mark.index
    return {**files, POLICY_FILE: text[:start] + text[end:]}


def _checked(value: str) -> str:
    value = value.strip()
    if not 0 < len(value) <= LONGEST or not value.isprintable() or "#" in value:
        raise InputError(f"{value!r} cannot be an entry of a list", remedy="give one value, without #")
    return value


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _entry(files: Mapping[str, str], name: str) -> yaml.MappingNode:
    document = Document(Path(POLICY_FILE), error=PolicyError, text=files.get(POLICY_FILE, ""))
    lists = _child(document.root, "lists")
    for kind in ("allow", "block"):
        found = _child(lists, kind)
        for entry in found.value if isinstance(found, yaml.SequenceNode) else ():
            if isinstance(entry, yaml.MappingNode) and _scalar(entry, "name") == name:
                return entry
    raise InputError(f"the policy has no list {name!r}")


def _items(entry: yaml.MappingNode) -> yaml.SequenceNode:
    items = _child(entry, "values")
    if not isinstance(items, yaml.SequenceNode) or not items.value:
        raise InputError("the list has neither values nor a file")
    return items


def _values(files: Mapping[str, str], entry: yaml.MappingNode) -> list[str]:
    if file := _scalar(entry, "file"):
        return list(list_lines(files.get(file, "")))
    return [item.value.strip() for item in _items(entry).value]


def _child(node: yaml.Node | None, key: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for name, value in node.value if name.value == key), None)


def _scalar(node: yaml.Node | None, key: str) -> str:
    value = _child(node, key)
    return value.value if isinstance(value, yaml.ScalarNode) else ""
