"""The kernels over blobs as Python holds them: one bytes object per account or entity."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features import entity_codec, kernel_account, kernel_entity
from features.account_codec import TX_MASK
from features.activity import PAYMENT, Activity
from features.arrays import given
from features.catalogue import LABEL_DELAY, NAMES, SETTLED
from features.columns import Columns
from features.hashing import distinct_hashes
from features.kernel_entity import DELAYED_PART, LIVE_PART
from features.signals import SIGNALS, fill_live
from vedette.errors import StateError


@dataclass(frozen=True)
class Advanced:
    """The result of applying a batch to the states of its accounts."""

    blobs: list[bytes]
    """The new state of each account, in the order of the old ones."""
    features: NDArray[np.float64]
    """float64[n, features] in catalogue order, all or those that are not live, with the columns of entities empty."""
    status: NDArray[np.int8]
    """int8[n], one of features.kernel_account's NEW, DUPLICATE, LATE and UNMATCHED for each event."""
    pays: NDArray[np.bool_]
    """bool[n], whether each event is a payment, see features.kernel_account.advance_accounts."""
    new: NDArray[np.uint8]
    """uint8[n], the identifiers that are new to the account, as bits in the order of features.columns.IDENTIFIERS."""


def slots(keys: pa.Array | Sequence[str] | NDArray[np.uint64]) -> tuple[list[Any], NDArray[np.int64]]:
    """Return the distinct keys in order of first appearance, and the index of each key among them, int64[n]."""
    if isinstance(keys, np.ndarray):
        return distinct_hashes(keys)
    encoded = (keys if isinstance(keys, pa.Array) else pa.array(keys)).dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64)


def advance_accounts(
    blobs: Sequence[bytes | None], slot: NDArray[np.int64], columns: Columns, label: NDArray[np.int8] | None = None,
    *, delay: int = LABEL_DELAY, live: bool = True,
) -> Advanced:  # fmt: skip
    """Apply a batch to the states of its accounts.

    Args:
        blobs: The state of each account; None or empty for a new account.
        slot: int64[n], index of the account of each event.
        columns: The events, n rows.
        label: int8[n], PAYMENT or the label (1 fraud, 0 not); None if all are payments.
        delay: The label delay, milliseconds.
        live: Whether the features have columns for the live ones.

    Raises:
        StateError: A blob is corrupt or of a version that this release does not know.
    """
    n = len(columns)
    out = np.full((n, len(NAMES if live else SETTLED)), np.nan)
    status = np.zeros(n, np.int8)
    pays = np.zeros(n, np.bool_)
    identifiers_new = np.zeros(n, np.uint8)
    buffer, starts = _pack(blobs)
    new, new_starts, broken = kernel_account.advance_accounts(
        buffer,
        starts,
        *given(
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
            columns.kind,
            columns.original,
        ),
        delay,
        out,
        status,
        pays,
        identifiers_new,
    )
    if broken >= 0:
        raise _unreadable("account", blobs[broken])
    return Advanced(_unpack(new, new_starts), out, status, pays, identifiers_new)


def advance_entities(
    blobs: Sequence[bytes | None],
    slot: NDArray[np.int64],
    activity: Activity,
    parts: int = DELAYED_PART | LIVE_PART,
    *,
    delay: int = LABEL_DELAY,
) -> list[bytes]:
    """Apply activity to the states of its entities.

    Args:
        blobs: The state of each entity; None or empty for a new one.
        slot: int64[n], index of the entity of each record.
        activity: n records.
        parts: Parts of the states to apply it to.
        delay: The label delay, milliseconds.

    Raises:
        StateError: A blob is corrupt or of a version that this release does not know.
    """
    buffer, starts = _pack(blobs)
    a = activity
    arrays = given(slot, a.kind, a.time, a.tx, a.account, a.amount, a.unusual, a.flags, a.label)
    new, new_starts, broken = kernel_entity.advance_entities(buffer, starts, *arrays, parts, delay)
    if broken >= 0:
        raise _unreadable("entity", blobs[broken])
    return _unpack(new, new_starts)


def query_entities(
    blobs: Sequence[bytes | None], slot: NDArray[np.int64], columns: Columns, features: NDArray[np.float64],
    *, delay: int = LABEL_DELAY,
) -> NDArray[np.int64]:  # fmt: skip
    """Fill the entities' columns of features, float64[n, features], in place, and return the live signals.

    Args:
        blobs: The state of each entity; None or empty for a new one.
        slot: int64[n, KINDS], merchant, device, address and payee of each payment, and its account as a payee; -1 for
            none.
        columns: The payments, n rows.
        features: The matrix to fill; the features of the accounts are already there.
        delay: The label delay, milliseconds.

    Returns:
        int64[n, SIGNALS], see features.signals.

    Raises:
        StateError: A blob is corrupt or of a version that this release does not know.
    """
    buffer, starts = _pack(blobs)
    signals = np.empty((len(columns), SIGNALS), np.int64)
    arrays = given(slot, columns.time, columns.scale, columns.account)
    broken = kernel_entity.query_entities(buffer, starts, *arrays, delay, features, signals)
    if broken >= 0:
        raise _unreadable("entity", blobs[broken])
    fill_live(signals, columns.scale, features)
    return signals


@dataclass(frozen=True)
class KnownFrauds:
    """m frauds in the order in which they became known."""

    known_at: NDArray[np.int64]
    row: NDArray[np.int64]
    """int64[m], the rows of their payments, -1 for earlier ones."""
    slot: NDArray[np.int64]
    """int64[m, kinds of entity], the index of each of their entities, -1 for none."""
    time: NDArray[np.int64]
    tx: NDArray[np.int64]


def follow_entities(
    blobs: Sequence[bytes | None],
    slot: NDArray[np.int64],
    columns: Columns,
    unusual: NDArray[np.uint8],
    flags: NDArray[np.uint8],
    frauds: KnownFrauds,
    features: NDArray[np.float64],
    *,
    delay: int = LABEL_DELAY,
) -> list[bytes]:
    """Fill the entities' columns of features, in place, applying each payment after it: without lag.

    Args:
        blobs: As for query_entities.
        slot: As for query_entities.
        columns: The payments, n rows in order of time.
        unusual: uint8[n], see features.activity.unusualness.
        flags: uint8[n, kinds of entity], see features.activity.payment_flags.
        frauds: Frauds that become known meanwhile, for the live part.
        features: As for query_entities.
        delay: The label delay, milliseconds.

    Returns:
        The new state of each entity.

    Raises:
        StateError: A blob is corrupt or of a version that this release does not know.
    """
    buffer, starts = _pack(blobs)
    signals = np.empty((len(columns), SIGNALS), np.int64)
    arrays = given(
        slot, columns.time, columns.scale, columns.tx & TX_MASK, columns.account, columns.amount, unusual, flags,
        frauds.known_at, frauds.row, frauds.slot, frauds.time, frauds.tx,
    )  # fmt: skip
    new, new_starts, broken = kernel_entity.follow_entities(buffer, starts, *arrays, delay, features, signals)
    if broken >= 0:
        raise _unreadable("entity", blobs[broken])
    fill_live(signals, columns.scale, features)
    return _unpack(new, new_starts)


def without_live(blobs: Sequence[bytes]) -> list[bytes]:
    """Return the states of entities with an empty live part: what remains does not depend on any lag.

    Raises:
        StateError: A blob is corrupt or of a version that this release does not know.
    """
    buffer, starts = _pack(blobs)
    states = entity_codec.unpack_entities(buffer, starts, np.empty(0, np.int64))
    if states.broken >= 0:
        raise _unreadable("entity", blobs[states.broken])
    states.live[:] = 0
    states.live[:, :2] = -1
    return _unpack(*entity_codec.pack_entities(states))


def stateless_features(columns: Columns) -> NDArray[np.float64]:
    """Return features with NaN for all that need history, float64[n, features], for degraded scoring."""
    out = np.empty((len(columns), len(NAMES)))
    for i in range(len(columns)):
        kernel_account.stateless(
            columns.time[i], columns.amount[i], columns.scale[i], columns.balance[i], columns.opened_at[i], out[i]
        )
    return out


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
        remedy="it is corrupt or was written by another release; load the history again with "
        "`vedette backfill --load --overwrite`",
    )
