"""Files of messages, each behind its length in two bytes, at constant memory."""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from producers import records
from producers.converter import Converter, RejectedRow
from producers.iso8583.form import Form, load_form
from producers.iso8583.message import REQUESTS, decode, record_of
from producers.mapping import Mapping
from producers.open_file import opened
from vedette.card_numbers import CardTokens
from vedette.clock import parse_time
from vedette.errors import InputError
from vedette.settings_base import Secret

_LENGTH = 2
OnReject = Callable[[RejectedRow], None]


def read_messages(
    path: Path, mapping: Mapping, converter: Converter, batch_rows: int, on_reject: OnReject
) -> Iterator[pa.RecordBatch]:
    """Yield canonical batches of a file; at most batch_rows messages are held. Answers are passed over.

    Args:
        path: The file.
        mapping: Its mapping, whose columns are the names of message.record_of.
        converter: Of this mapping.
        batch_rows: Number of messages at a time.
        on_reject: Called for each message that is no transaction.
    """
    file_form = mapping.file
    form = load_form(file_form.form)
    cards = CardTokens(Secret(file=file_form.card_key_file, key="[file] card_key_file"))
    near_ms = parse_time(file_form.near) if file_form.near else round(path.stat().st_mtime * 1000)
    with opened(path) as file:
        numbered = enumerate(_messages(file, path), start=1)
        while chunk := list(islice(numbered, batch_rows)):
            yield from _convert(chunk, mapping, converter, on_reject, form, cards, near_ms)


def _convert(
    chunk: list[tuple[int, bytes]], mapping: Mapping, converter: Converter, on_reject: OnReject, form: Form,
    cards: CardTokens, near_ms: int,
) -> Iterator[pa.RecordBatch]:  # fmt: skip
    rejects: list[RejectedRow] = []
    found: list[dict[str, Any]] = []
    where: list[int] = []
    for number, raw in chunk:
        try:
            message = decode(raw, form)
            if message.type not in REQUESTS:
                continue
            found.append(record_of(message, cards, near_ms))
            where.append(number)
        except InputError as error:  # without the message, which has the number of the card
            rejects.append(RejectedRow(number, "", "", error.args[0], ""))
    table, wrong = records.table(found, mapping.columns())

    def reject(row: int, column: str, value: str, reason: str) -> None:
        content = ";".join(f"{name}={text or ''}" for name, text in table.slice(row, 1).to_pylist()[0].items())
        rejects.append(RejectedRow(where[row], column, value, reason, content))

    batch = converter.convert(table, np.array(where, np.int64), reject, wrong)
    if batch.num_rows:
        yield batch
    for one in sorted(rejects, key=lambda reject: reject.line):
        on_reject(one)


def _messages(file: BinaryIO, path: Path) -> Iterator[bytes]:
    """Yield the messages; one of length 0, with which switches keep a connection open, is none."""
    number = 1
    while head := file.read(_LENGTH):
        length = int.from_bytes(head, "big")
        raw = file.read(length)
        if len(head) < _LENGTH or len(raw) < length:
            raise InputError(
                f"{path} ends within message {number}", remedy="each message stands behind its length in two bytes"
            )
        if length:
            yield raw
        number += 1
