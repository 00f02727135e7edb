"""Variable-length integers (LEB128) for state blobs, for use inside kernels."""

import numba
import numpy as np
from numpy.typing import NDArray

LONGEST = 9
"""Length of the longest varint in bytes: 63 bits in groups of 7."""


@numba.njit(cache=True, nogil=True, inline="always")
def put(buffer: NDArray[np.uint8], at: int, value: int) -> int:
    """Write a non-negative integer below 2**63, and return the next free position."""
    while value >= 0x80:
        buffer[at] = (value & 0x7F) | 0x80
        value >>= 7
        at += 1
    buffer[at] = value
    return at + 1


@numba.njit(cache=True, nogil=True)
def get(buffer: NDArray[np.uint8], at: int, end: int) -> tuple[int, int]:
    """Read an integer before `end`; return its value and the next position, or position -1 if there is none."""
    value = np.int64(0)
    shift = 0
    while 0 <= at < end and shift < 7 * LONGEST:
        byte = np.int64(buffer[at])
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    return np.int64(0), -1


@numba.njit(cache=True, nogil=True)
def put_fixed(buffer: NDArray[np.uint8], at: int, value: int, size: int) -> int:
    """Write the low `size` bytes of an integer, little-endian, and return the next free position."""
    for k in range(size):
        buffer[at + k] = (value >> (8 * k)) & 0xFF
    return at + size


@numba.njit(cache=True, nogil=True)
def get_fixed(buffer: NDArray[np.uint8], at: int, end: int, size: int) -> tuple[int, int]:
    """Read `size` bytes before `end`, little-endian, unsigned unless size is 8; position -1 if there are too few."""
    if at < 0 or at + size > end:
        return np.int64(0), -1
    value = np.int64(0)
    for k in range(size):
        value |= np.int64(buffer[at + k]) << (8 * k)
    return value, at + size


@numba.njit(cache=True, nogil=True, inline="always")
def zigzag(value: int) -> int:
    """Return a signed integer as a non-negative one, small for small magnitudes."""
    return (value << 1) ^ (value >> 63)


@numba.njit(cache=True, nogil=True, inline="always")
def unzigzag(value: int) -> int:
    """Return the inverse of zigzag."""
    return (value >> 1) ^ -(value & 1)
