"""Decisions as JSON: most are filled into a template, with the same bytes as msgspec's encoding of a Decision."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import compress, pairwise
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_ENCODER = msgspec.json.Encoder()
_ESCAPED = re.compile(rb'[\x00-\x1f"\\]')
"""Characters that JSON escapes; msgspec writes all others unchanged."""
_WHOLE = ("transaction_id", "account_id", "currency")
"""Text columns of a decision."""
PARTIES = ("merchant_id", "payee", "channel", "country", "device_id", "ip_address")
"""Counterparty and origin of a payment."""
REPEATED = ("kind", "original_id", *PARTIES)
"""What a decision repeats where the transaction has it, in the order of the fields of a Decision."""

encode = _ENCODER.encode


def encode_approvals(
    batch: pa.RecordBatch, score: NDArray[np.float64], expected_loss: NDArray[np.int64], versions: Mapping[str, Any],
    *, degraded: bool,
) -> list[bytes]:  # fmt: skip
    """Return approvals without reasons, for n payments; the bytes are those of the encoded Decisions.

    Args:
        batch: The n payments.
        score: float64[n], calibrated probabilities.
        expected_loss: int64[n], minor units.
        versions: Model, policy and hash of the catalogue.
        degraded: Whether the features were computed without history.
    """
    template, end = _template(tuple(versions.items()), degraded)
    transaction, account, currency = (_json_texts(utf8_texts(batch.column(name))) for name in _WHOLE)
    event_time, amount = (_json_numbers(batch.column(name).to_numpy()) for name in ("event_time", "amount"))
    numbers = (_json_numbers(score), _json_numbers(expected_loss))
    columns = [batch.column(name) for name in REPEATED]
    given = [column for column in columns if column.null_count < len(column)]
    names = tuple(name for name, column in zip(REPEATED, columns, strict=True) if column.null_count < len(column))
    rows = zip(
        transaction, account, event_time, amount, currency, *numbers,
        *(_json_texts(utf8_texts(column)) for column in given), strict=True,
    )  # fmt: skip
    if not any(column.null_count for column in given):
        whole = template + _repeated(names) + end
        return [whole % row for row in rows]
    known = np.column_stack([column.is_valid().to_numpy(zero_copy_only=False) for column in given])
    first = len(_WHOLE) + 4
    return [
        (template + _repeated(tuple(compress(names, there))) + end) % (*row[:first], *compress(row[first:], there))
        for row, there in zip(rows, known.tolist(), strict=True)
    ]


def utf8_texts(array: pa.Array) -> list[bytes]:
    """Return the UTF-8 bytes of each text of an Arrow array; of a null, none."""
    _, offsets, data = array.buffers()
    edges = np.frombuffer(offsets, np.int32, len(array) + 1, array.offset * 4).tolist()
    whole = data.to_pybytes() if data is not None else b""
    return [whole[start:end] for start, end in pairwise(edges)]


@cache
def _template(versions: tuple[tuple[str, Any], ...], degraded: bool) -> tuple[bytes, bytes]:
    """Return a Decision as a bytes template over what varies between payments: up to what is repeated, and after it."""
    rest = encode({**dict(versions), "degraded": degraded})[1:-1].replace(b"%", b"%%")
    head = (
        b'{"transaction_id":"%b","account_id":"%b","event_time":%b,"amount":%b,"currency":"%b","action":"approve",'
        b'"score":%b,"expected_loss":%b,"reasons":[],"rules":[],' + rest
    )
    return head, b"}"


@cache
def _repeated(names: tuple[str, ...]) -> bytes:
    """Return a bytes template over the fields that are repeated."""
    return b"".join(b',"%b":"%%b"' % name.encode() for name in names)


def _json_texts(texts: Sequence[bytes]) -> Sequence[bytes]:
    """Return texts escaped for JSON, without quotes."""
    if not _ESCAPED.search(b"".join(texts)):
        return texts
    return [encode(text.decode())[1:-1] for text in texts]


def _json_numbers(numbers: NDArray[Any]) -> list[bytes]:
    return encode(numbers.tolist())[1:-1].split(b",") if len(numbers) else []
