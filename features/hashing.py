"""Identifiers as 64-bit numbers: SipHash-2-4 (Aumasson and Bernstein, 2012) of the UTF-8 bytes, under a secret key.

Kernels compare and store numbers, not strings. 0 means missing, so no string hashes to 0.
"""

import numba
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_U = np.uint64


@numba.njit(cache=True, nogil=True, inline="always")
def _rotated(x: np.uint64, bits: int) -> np.uint64:
    return (x << _U(bits)) | (x >> _U(64 - bits))


@numba.njit(cache=True, nogil=True, inline="always")
def _round(
    v0: np.uint64, v1: np.uint64, v2: np.uint64, v3: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    v0 += v1
    v2 += v3
    v1 = _rotated(v1, 13) ^ v0
    v3 = _rotated(v3, 16) ^ v2
    v0 = _rotated(v0, 32)
    v2 += v1
    v0 += v3
    v1 = _rotated(v1, 17) ^ v2
    v3 = _rotated(v3, 21) ^ v0
    return v0, v1, _rotated(v2, 32), v3


@numba.njit(cache=True, nogil=True)
def _sip_hash(
    offsets: NDArray[np.int32], data: NDArray[np.uint8], key: NDArray[np.uint64], out: NDArray[np.uint64]
) -> None:
    for i in range(out.shape[0]):
        start, end = offsets[i], offsets[i + 1]
        v0 = key[0] ^ _U(0x736F6D6570736575)
        v1 = key[1] ^ _U(0x646F72616E646F6D)
        v2 = key[0] ^ _U(0x6C7967656E657261)
        v3 = key[1] ^ _U(0x7465646279746573)
        last = _U(end - start) << _U(56)
        while end - start >= 8:
            word = _U(0)
            for j in range(8):
                word |= _U(data[start + j]) << _U(8 * j)
            v3 ^= word
            v0, v1, v2, v3 = _round(v0, v1, v2, v3)
            v0, v1, v2, v3 = _round(v0, v1, v2, v3)
            v0 ^= word
            start += 8
        for j in range(end - start):
            last |= _U(data[start + j]) << _U(8 * j)
        v3 ^= last
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
        v0 ^= last
        v2 ^= _U(0xFF)
        for _ in range(4):
            v0, v1, v2, v3 = _round(v0, v1, v2, v3)
        h = v0 ^ v1 ^ v2 ^ v3
        out[i] = h if h != 0 else _U(1)


def hash_strings(strings: pa.Array, key: tuple[int, int]) -> NDArray[np.uint64]:
    """Return the hash of each string, uint64[n]; 0 where it is null.

    Args:
        strings: An Arrow array of strings, of any string or dictionary type, or of nulls.
        key: The two halves of the key, see features.identity.
    """
    out = np.zeros(len(strings), np.uint64)
    if strings.null_count == len(strings):
        return out
    if strings.type != pa.string():
        strings = strings.cast(pa.string())
    _sip_hash(*_text(strings), np.array(key, np.uint64), out)
    if strings.null_count:
        out *= strings.is_valid().to_numpy(zero_copy_only=False)
    return out


@numba.njit(cache=True, nogil=True)
def _murmur2(offsets: NDArray[np.int32], data: NDArray[np.uint8], out: NDArray[np.uint32]) -> None:
    multiplier = np.uint32(0x5BD1E995)
    for i in range(out.shape[0]):
        start, end = offsets[i], offsets[i + 1]
        h = np.uint32(0x9747B28C) ^ np.uint32(end - start)
        while end - start >= 4:
            k = np.uint32(0)
            for j in range(4):
                k |= np.uint32(np.uint32(data[start + j]) << np.uint32(8 * j))
            k = np.uint32(k * multiplier)
            k = np.uint32((k ^ (k >> np.uint32(24))) * multiplier)
            h = np.uint32(np.uint32(h * multiplier) ^ k)
            start += 4
        if end > start:
            for j in range(end - start):
                h ^= np.uint32(np.uint32(data[start + j]) << np.uint32(8 * j))
            h = np.uint32(h * multiplier)
        h = np.uint32((h ^ (h >> np.uint32(13))) * multiplier)
        out[i] = h ^ (h >> np.uint32(15))


def partitions_of(keys: pa.Array, partitions: int) -> NDArray[np.int32]:
    """Return the partition of each key, int32[n]: a vectorised vedette.partitioner.partition_of.

    Args:
        keys: An Arrow array of strings without nulls.
        partitions: Number of partitions of the topic.
    """
    out = np.empty(len(keys), np.uint32)
    if len(keys):
        _murmur2(*_text(keys), out)
    return ((out & np.uint32(0x7FFFFFFF)) % np.uint32(partitions)).astype(np.int32)


def _text(strings: pa.Array) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Return the offsets of the strings, int32[n + 1], and the bytes of all."""
    _, offsets, data = strings.buffers()
    starts = np.frombuffer(offsets, np.int32, len(strings) + 1, strings.offset * 4)
    # An array of empty strings has no data buffer.
    return starts, np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)


@numba.njit(cache=True, nogil=True)
def _distinct(hashes: NDArray[np.uint64], found: NDArray[np.uint64], index: NDArray[np.int64]) -> int:
    """Fill `found` with the distinct hashes in order of first appearance and `index`; return their number."""
    size = 16
    while size < 2 * hashes.shape[0]:
        size *= 2
    table = np.full(size, -1, np.int64)
    last = _U(size - 1)
    n = 0
    for i in range(hashes.shape[0]):
        place = hashes[i] & last
        while table[place] >= 0 and found[table[place]] != hashes[i]:
            place = (place + _U(1)) & last
        if table[place] < 0:
            table[place] = n
            found[n] = hashes[i]
            n += 1
        index[i] = table[place]
    return n


def distinct_hashes(hashes: NDArray[np.uint64]) -> tuple[list[int], NDArray[np.int64]]:
    """Return the distinct hashes, uint64[n], in order of first appearance, and the index of each among them, int64[n].

    The hashes must be those of `hash_strings`, whose low bits are evenly distributed.
    """
    found, index = np.empty(len(hashes), np.uint64), np.empty(len(hashes), np.int64)
    number = _distinct(np.ascontiguousarray(hashes), found, index)
    return found[:number].tolist(), index


def narrow(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the low 32 bits as int64, for state blobs; still 0 only where missing."""
    low = (hashes & np.uint64(0xFFFFFFFF)).astype(np.int64)
    low[(low == 0) & (hashes != 0)] = 1
    return low
