"""Live signals as features, and as the compact bytes that travel with a decision.

The bytes: their version, which kinds are present as bits, and their signals in order as varints: a run of zeros as
twice its length + 1, any other number as twice one more than itself.

The signals of a payment are int64[KINDS * KIND_SIGNALS]: for its merchant, device, address and payee, and for its own
account as a payee, those of features.kernel_look.look; ABSENT throughout for an entity that it does not name.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numba
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.catalogue import ENTITIES, NAMES, SETTLED
from features.catalogue_live import INCOMING_WINDOWS, LIVE_WINDOWS, PASSED_ON_WINDOWS
from features.columns import scale_of
from features.kernel_look import AGE, FRAUDS_KNOWN, KIND_SIGNALS, SINCE, WINDOW_SIGNALS
from features.live_codec import N_WINDOWS
from features.varint import LONGEST, get, put
from vedette.clock import DAY
from vedette.errors import InputError

INCOMING = len(ENTITIES)
"""The kind whose entity is the account itself, as payees name it."""
KINDS = INCOMING + 1
SIGNALS = KINDS * KIND_SIGNALS
ABSENT = -1

VERSION = 1
"""Version of the bytes: of the signals, their order and their encoding."""

_COUNT, _SUM, _NEW, _SMALL, _UNUSUAL, _FLAGGED, _FRAUDS, _ACCOUNTS = range(WINDOW_SIGNALS)
_FIRST = len(SETTLED)
_PER_WINDOW = 9
_PER_KIND = _PER_WINDOW * N_WINDOWS + 3
_FIRST_INCOMING = _FIRST + INCOMING * _PER_KIND
_INCOMING_AT = np.array([list(LIVE_WINDOWS).index(window) for window in INCOMING_WINDOWS])
_PASSED_ON_AT = np.array([list(LIVE_WINDOWS).index(window) for window in PASSED_ON_WINDOWS])
SPENT = tuple(f"account_sum_{window}" for window in PASSED_ON_WINDOWS)
"""Features of the account that live features are made of."""
_SPENT = np.array([NAMES.index(name) for name in SPENT])
FLAGGED_COLUMNS = np.array([column for column, name in enumerate(NAMES) if "_live_flagged_share_" in name])
"""Columns of the features that need the decisions on earlier payments."""


def fill_live(signals: NDArray[np.int64], scale: NDArray[np.float64], features: NDArray[np.float64]) -> None:
    """Fill the live features of n payments from their signals; the account's own features are already there.

    Args:
        signals: int64[n, SIGNALS].
        scale: float64[n], minor units in a major unit of the payment's currency.
        features: float64[n, features]; where it has the settled features only, nothing is filled.
    """
    if features.shape[1] > _FIRST:
        _fill_live(signals, np.ascontiguousarray(scale), features)


def with_live(
    settled: NDArray[np.float64], signals: Sequence[bytes | None], currency: pa.Array
) -> NDArray[np.float64]:  # fmt: skip
    """Return the features of n payments as they were seen, float64[n, features], from what is logged of them.

    Args:
        settled: float64[n, settled features].
        signals: Their live signals, as bytes of encode_signals.
        currency: Their currencies, text[n].

    Raises:
        InputError: A currency is unknown, or signals are of another release.
    """
    features = np.empty((len(settled), len(NAMES)))
    features[:, :_FIRST] = settled
    seen = decode_all_signals(signals)
    fill_live(seen, scale_of(currency), features)
    return features


def with_live_by_name(features: Mapping[str, float], signals: bytes | None, currency: str) -> dict[str, float]:
    """Return the features of one payment by name, with the live ones; those of a log without signals are complete.

    Raises:
        InputError: The currency is unknown, or the signals are of another release.
    """
    if signals is None or any(name not in features for name in SETTLED):
        return dict(features)
    (row,) = with_live(np.array([[features[name] for name in SETTLED]]), [signals], pa.array([currency])).tolist()
    return dict(zip(NAMES, row, strict=True)) | {name: features[name] for name in features if name not in SETTLED}


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _fill_live(  # noqa: C901 — one loop over kinds and windows, as the catalogue has them
    signals: NDArray[np.int64], scale: NDArray[np.float64], out: NDArray[np.float64]
) -> None:
    """See fill_live."""
    for i in range(signals.shape[0]):
        out[i, _FIRST:] = np.nan
        for kind in range(INCOMING):
            own = signals[i, kind * KIND_SIGNALS : (kind + 1) * KIND_SIGNALS]
            if own[0] == ABSENT:
                continue
            column = _FIRST + kind * _PER_KIND
            for w in range(N_WINDOWS):
                s = own[w * WINDOW_SIGNALS : (w + 1) * WINDOW_SIGNALS]
                count = s[_COUNT]
                out[i, column] = count
                out[i, column + 1] = s[_ACCOUNTS]
                out[i, column + 2] = s[_NEW]
                out[i, column + 3] = s[_SUM] / scale[i]
                if count:
                    out[i, column + 4] = s[_SUM] / scale[i] / count
                out[i, column + 5] = s[_SMALL] / count if count else 0.0
                out[i, column + 6] = s[_UNUSUAL] / count if count else 0.0
                out[i, column + 7] = s[_FLAGGED] / count if count else 0.0
                out[i, column + 8] = s[_FRAUDS]
                column += _PER_WINDOW
            if own[AGE] >= 0:
                out[i, column] = own[AGE] / DAY
            if own[SINCE] >= 0:
                out[i, column + 1] = own[SINCE] / 1000.0
            out[i, column + 2] = own[FRAUDS_KNOWN]
        own = signals[i, INCOMING * KIND_SIGNALS : KINDS * KIND_SIGNALS]
        if own[0] == ABSENT:
            continue
        column = _FIRST_INCOMING
        for w in _INCOMING_AT:
            s = own[w * WINDOW_SIGNALS : (w + 1) * WINDOW_SIGNALS]
            out[i, column] = s[_COUNT]
            out[i, column + 1] = s[_SUM] / scale[i]
            out[i, column + 2] = s[_ACCOUNTS]
            out[i, column + 3] = s[_NEW]
            column += 4
        if own[SINCE] >= 0:
            out[i, column] = own[SINCE] / 1000.0
        for k in range(len(_PASSED_ON_AT)):
            received = own[_PASSED_ON_AT[k] * WINDOW_SIGNALS + _SUM] / scale[i]
            if received > 0:
                out[i, column + 1 + k] = min(1.0, out[i, _SPENT[k]] / received)


@numba.njit(cache=True, nogil=True)
def _encode(signals: NDArray[np.int64], out: NDArray[np.uint8], starts: NDArray[np.int64]) -> None:
    at = 0
    for i in range(signals.shape[0]):
        starts[i] = at
        present = 0
        for kind in range(KINDS):
            present |= 0 if signals[i, kind * KIND_SIGNALS] == ABSENT else 1 << kind
        out[at], out[at + 1] = VERSION, present
        at += 2
        zeros = 0
        for kind in range(KINDS):
            if not present >> kind & 1:
                continue
            for k in range(kind * KIND_SIGNALS, (kind + 1) * KIND_SIGNALS):
                if signals[i, k] == 0:
                    zeros += 1
                    continue
                if zeros:
                    at = put(out, at, zeros << 1 | 1)
                    zeros = 0
                at = put(out, at, (signals[i, k] + 1) << 1)
        if zeros:
            at = put(out, at, zeros << 1 | 1)
    starts[signals.shape[0]] = at


@numba.njit(cache=True, nogil=True)
def _decode(buffer: NDArray[np.uint8], signals: NDArray[np.int64]) -> bool:
    signals[:] = ABSENT
    end = buffer.shape[0]
    if end < 2 or buffer[0] != VERSION or buffer[1] >> KINDS:
        return False
    present, at, zeros = buffer[1], 2, np.int64(0)
    for kind in range(KINDS):
        if not present >> kind & 1:
            continue
        for k in range(kind * KIND_SIGNALS, (kind + 1) * KIND_SIGNALS):
            if not zeros:
                token, at = get(buffer, at, end)
                if at < 0:
                    return False
                if not token & 1:
                    signals[k] = (token >> 1) - 1
                    continue
                zeros = token >> 1
            signals[k] = 0
            zeros -= 1
    valid: bool = at == end and zeros == 0
    return valid


def encode_signals(signals: NDArray[np.int64]) -> list[bytes]:
    """Return the bytes of n payments' signals, int64[n, SIGNALS]."""
    whole, starts = _encoded(signals)
    edges = starts.tolist()
    return [whole[start:end] for start, end in pairwise(edges)]


def signals_column(signals: NDArray[np.int64]) -> pa.Array:
    """Return the bytes of n payments' signals, int64[n, SIGNALS], as an Arrow column, binary[n]."""
    whole, starts = _encoded(signals)
    buffers = [None, pa.py_buffer(starts.astype(np.int32)), pa.py_buffer(whole)]
    return pa.Array.from_buffers(pa.binary(), len(signals), buffers)


def _encoded(signals: NDArray[np.int64]) -> tuple[bytes, NDArray[np.int64]]:
    """Return the bytes of n payments' signals, one after the other, and where each starts, int64[n + 1]."""
    out = np.empty(len(signals) * (2 + SIGNALS * LONGEST), np.uint8)
    starts = np.empty(len(signals) + 1, np.int64)
    _encode(signals, out, starts)
    return out[: starts[-1]].tobytes(), starts


def decode_signals(message: bytes) -> NDArray[np.int64] | None:
    """Return the signals of a payment, int64[SIGNALS]; None if these are not bytes of encode_signals."""
    signals = np.empty(SIGNALS, np.int64)
    return signals if _decode(np.frombuffer(message, np.uint8), signals) else None


def decode_all_signals(messages: Sequence[bytes | None]) -> NDArray[np.int64]:
    """Return the signals of n payments, int64[n, SIGNALS].

    Raises:
        InputError: Some are not bytes of encode_signals.
    """
    signals = np.empty((len(messages), SIGNALS), np.int64)
    for row, message in enumerate(messages):
        if not _decode(np.frombuffer(message or b"", np.uint8), signals[row]):
            raise InputError(
                "the live signals of a payment are not of a version that this release knows",
                remedy="read them with the release that logged them",
            )
    return signals
