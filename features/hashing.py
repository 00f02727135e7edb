"""Identifiers as 64-bit numbers: FNV-1a over the UTF-8 bytes, finished with MurmurHash3's avalanche step.

Kernels compare and store numbers, not strings. 0 means missing, so no string hashes to 0.
"""

import numba
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_OFFSET = np.uint64(0xCBF29CE484222325)
_PRIME = np.uint64(0x100000001B3)
_MIX_1 = np.uint64(0xFF51AFD7ED558CCD)
_MIX_2 = np.uint64(0xC4CEB9FE1A85EC53)
_SHIFT = np.uint64(33)


@numba.njit(cache=True, nogil=True)
def _hash(offsets: NDArray[np.int32], data: NDArray[np.uint8], out: NDArray[np.uint64]) -> None:
    for i in range(out.shape[0]):
        h = _OFFSET
        for j in range(offsets[i], offsets[i + 1]):
            h = (h ^ np.uint64(data[j])) * _PRIME
        h = (h ^ (h >> _SHIFT)) * _MIX_1
        h = (h ^ (h >> _SHIFT)) * _MIX_2
        h = h ^ (h >> _SHIFT)
        out[i] = h if h != 0 else np.uint64(1)


def hash_strings(strings: pa.Array) -> NDArray[np.uint64]:
    """The hash of each string, uint64[n]; 0 where it is null.

    Args:
        strings: An Arrow array of strings, of any string or dictionary type, or of nulls.
    """
    out = np.zeros(len(strings), np.uint64)
    if strings.null_count == len(strings):
        return out
    if strings.type != pa.string():
        strings = strings.cast(pa.string())
    _, offsets, data = strings.buffers()
    starts = np.frombuffer(offsets, np.int32, len(strings) + 1, strings.offset * 4)
    # An array of empty strings has no data buffer at all.
    _hash(starts, np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8), out)
    if strings.null_count:
        out[strings.is_null().to_numpy(zero_copy_only=False)] = 0
    return out


def narrow(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The low 32 bits as int64, for state blobs; still 0 only where missing."""
    low = (hashes & np.uint64(0xFFFFFFFF)).astype(np.int64)
    low[(low == 0) & (hashes != 0)] = 1
    return low
