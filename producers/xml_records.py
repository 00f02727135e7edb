"""Records of XML messages, such as those of ISO 20022, read one after another at constant memory.

A row has the record under its own name, and beside it what stands around it: the elements above it, each with what
came before the record, and the message's header. Names are those of the message without namespace; a repeated element
is a list, and an attribute stands beside its element as `InstdAmt@Ccy`. NOTPROVIDED, which ISO 20022 writes where a
field must not be empty, is nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from lxml import etree

from producers import records
from producers.converter import Converter, RejectedRow
from producers.mapping import Mapping
from producers.open_file import opened
from vedette.errors import InputError

_NOTHING = "NOTPROVIDED"
_DOCUMENT = "Document"
"""Name of the outermost element of a message; an envelope around it is passed over."""
_TOTALS = ("Amt", "Amt@Ccy")
"""Fields of an entry that belong to all of its parts together."""


def read_xml(
    path: Path, mapping: Mapping, converter: Converter, batch_rows: int, on_reject: Callable[[RejectedRow], None]
) -> Iterator[pa.RecordBatch]:
    """Yield canonical batches of an XML file; at most batch_rows records are held."""
    with _parsed(path) as file:
        rows = _rows(file, path, mapping.file.record, mapping.file.each)
        number = 1
        while chunk := list(islice(rows, batch_rows)):
            yield from _convert(chunk, number, mapping, converter, on_reject)
            number += len(chunk)


def _convert(
    chunk: list[tuple[int, dict[str, Any]]],
    number: int,
    mapping: Mapping,
    converter: Converter,
    on_reject: Callable[[RejectedRow], None],
) -> Iterator[pa.RecordBatch]:
    table, wrong = records.table([row for _, row in chunk], mapping.columns())

    def reject(row: int, column: str, value: str, reason: str) -> None:
        content = ";".join(f"{name}={text or ''}" for name, text in table.slice(row, 1).to_pylist()[0].items())
        on_reject(RejectedRow(chunk[row][0], column, value, reason, content))

    batch = converter.convert(table, np.arange(number, number + len(chunk)), reject, wrong)
    if batch.num_rows:
        yield batch


@contextmanager
def _parsed(path: Path) -> Iterator[BinaryIO]:
    try:
        with opened(path) as file:
            yield file
    except etree.XMLSyntaxError as error:
        raise InputError(f"{path} is not valid XML: {error}", remedy="read the message as it was received") from error


def _rows(file: BinaryIO, path: Path, record: str, each: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the line and the row of each record."""
    # Entities and DTDs could read files of this machine, or grow without bound.
    events = etree.iterparse(
        file, events=("start", "end"), resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False,
        remove_comments=True, remove_pis=True,
    )  # fmt: skip
    above: list[tuple[str, dict[str, Any]]] = []
    """The open elements with what they hold so far; the first is the document, the second the message."""
    for event, element in events:
        name = etree.QName(element).localname
        if event == "start":
            if not above and element.getroottree().docinfo.doctype:
                raise InputError(f"{path} has a document type definition", remedy="messages have none: remove it")
            if name == _DOCUMENT:
                above.clear()
            above.append((name, {}))
            continue
        if not above:
            continue  # an envelope
        _, content = above.pop()
        value = content or ((element.text or "").strip() or None)
        if name == record:
            around = {key: inner for _, inner in above[:2] for key, inner in inner.items()}
            around |= dict(above[2:])
            yield from ((element.sourceline, row) for row in _parts(around, record, value, each))
            _forget(element)
        elif above:
            _put(above[-1][1], name, None if value == _NOTHING else value)
            for key, text in element.attrib.items():
                above[-1][1].setdefault(f"{name}@{etree.QName(key).localname}", text)
            if not isinstance(value, dict):
                continue
            element.clear(keep_tail=False)


def _forget(element: Any) -> None:
    """Free a record and what stands before it."""
    element.clear(keep_tail=False)
    while element.getprevious() is not None:
        del element.getparent()[0]


def _put(content: dict[str, Any], name: str, value: Any) -> None:
    if name not in content:
        content[name] = value
    elif isinstance(content[name], list):
        content[name].append(value)
    else:
        content[name] = [content[name], value]


def _parts(around: dict[str, Any], record: str, value: Any, each: str) -> Iterator[dict[str, Any]]:
    """Yield a row for each part of a record, or one for the record if it has none."""
    value = value if isinstance(value, dict) else {}
    found = _all(value, each.split(".")) if each else []
    last = each.rpartition(".")[2]
    if len(found) > 1:  # the sum of all parts is not the amount of one of them
        value = {key: inner for key, inner in value.items() if key not in _TOTALS}
    for part in found or [{}]:
        yield around | {record: value} | ({last: part} if each else {})


def _all(value: Any, way: list[str]) -> list[Any]:
    """Return all elements to which a path leads, however often its steps are repeated."""
    found = [value]
    for step in way:
        inner = [one.get(step) for one in found if isinstance(one, dict)]
        found = [one for some in inner if some is not None for one in (some if isinstance(some, list) else [some])]
    return found
