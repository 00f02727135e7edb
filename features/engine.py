"""The kernels over blobs as Python holds them: one bytes object per account or entity."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features import kernel_account, kernel_entity
from features.activity import PAYMENT, Activity
from features.catalogue import NAMES
from features.columns import Columns
from vedette.errors import StateError


@dataclass(frozen=True)
class Advanced:
    """What taking a batch into its accounts' states gives."""

    blobs: list[bytes]
    """The new state of each account, in the order the old ones were given."""
    features: NDArray[np.float64]
    """float64[n, features] in catalogue order, the entities' columns not yet filled."""
    status: NDArray[np.int8]
    """NEW, DUPLICATE or LATE of features.kernel_account for each event."""


def slots(keys: pa.Array | Sequence[str] | NDArray[np.uint64]) -> tuple[list[Any], NDArray[np.int64]]:
    """The different keys in order of first appearance, and the index among them of each key, int64[n]."""
    encoded = (keys if isinstance(keys, pa.Array) else pa.array(keys)).dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64)


def advance_accounts(
    blobs: Sequence[bytes | None], slot: NDArray[np.int64], columns: Columns, label: NDArray[np.int8] | None = None
) -> Advanced:
    """Take a batch into the states of its accounts.

    Args:
        blobs: The state of each account; None or empty for a new account.
        slot: int64[n], which account each event belongs to.
        columns: The events, n rows.
        label: int8[n], PAYMENT or the label (1 fraud, 0 not); None if all are payments.

    Raises:
        StateError: A blob is corrupt or of a version that this release does not know.
    """
    n = len(columns)
    out = np.full((n, len(NAMES)), np.nan)
    status = np.zeros(n, np.int8)
    buffer, starts = _pack(blobs)
    new, new_starts, broken = kernel_account.advance_accounts(
        buffer,
        starts,
        *_given(
            slot,
            columns.time,
            columns.amount,
            columns.scale,
            columns.tx,
            columns.identifiers,
            columns.lat,
            columns.lon,
            columns.balance,
            columns.opened_at,
            np.full(n, PAYMENT, np.int8) if label is None else label,
        ),
        out,
        status,
    )
    if broken >= 0:
        raise _unreadable("account", blobs[broken])
    return Advanced(_unpack(new, new_starts), out, status)


def advance_entities(blobs: Sequence[bytes | None], slot: NDArray[np.int64], activity: Activity) -> list[bytes]:
    """Take activity into the states of its entities.

    Args:
        blobs: The state of each entity; None or empty for a new one.
        slot: int64[n], which entity each record belongs to.
        activity: n records.

    Raises:
        StateError: A blob is corrupt or of a version that this release does not know.
    """
    buffer, starts = _pack(blobs)
    new, new_starts, broken = kernel_entity.advance_entities(
        buffer,
        starts,
        *_given(slot, activity.time, activity.tx, activity.account, activity.amount, activity.unusual, activity.label),
    )
    if broken >= 0:
        raise _unreadable("entity", blobs[broken])
    return _unpack(new, new_starts)


def query_entities(
    blobs: Sequence[bytes | None], slot: NDArray[np.int64], columns: Columns, features: NDArray[np.float64]
) -> None:
    """Fill the entities' columns of features, float64[n, features], in place.

    Args:
        blobs: The state of each entity; None or empty for a new one.
        slot: int64[n, 3], merchant, device and address of each payment, -1 for none.
        columns: The payments, n rows.
        features: What to fill.

    Raises:
        StateError: A blob is corrupt or of a version that this release does not know.
    """
    buffer, starts = _pack(blobs)
    broken = kernel_entity.query_entities(buffer, starts, *_given(slot, columns.time, columns.scale), features)
    if broken >= 0:
        raise _unreadable("entity", blobs[broken])


def stateless_features(columns: Columns) -> NDArray[np.float64]:
    """The features that need no history, all others NaN: float64[n, features], for degraded scoring."""
    out = np.empty((len(columns), len(NAMES)))
    for i in range(len(columns)):
        kernel_account.stateless(
            columns.time[i], columns.amount[i], columns.scale[i], columns.balance[i], columns.opened_at[i], out[i]
        )
    return out


def _given(*arrays: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Arrays as the kernels take them, in one piece and not to be written.

    Numba compiles a kernel anew, for seconds, for each mixture of arrays that may and may not be written; and an Arrow
    column is the one or the other by whether it has nulls.
    """
    for array in arrays:
        fixed = np.ascontiguousarray(array).view()
        fixed.flags.writeable = False
        yield fixed


def _pack(blobs: Sequence[bytes | None]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    present = [blob or b"" for blob in blobs]
    starts = np.zeros(len(present) + 1, np.int64)
    np.cumsum([len(blob) for blob in present], out=starts[1:])
    return np.frombuffer(b"".join(present), np.uint8), starts


def _unpack(buffer: NDArray[np.uint8], starts: NDArray[np.int64]) -> list[bytes]:
    whole = buffer[: starts[-1]].tobytes()
    edges = starts.tolist()
    return [whole[a:b] for a, b in pairwise(edges)]


def _unreadable(what: str, blob: bytes | None) -> StateError:
    head = (blob or b"")[:8].hex()
    return StateError(
        f"the state of an {what} cannot be read (it begins with {head})",
        remedy="it is corrupt or was written by a newer release; restore it, or delete the key to start afresh",
    )
