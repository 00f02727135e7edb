"""Identifiers as numbers, compared with the same arithmetic in Python's own integers."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.hashing import hash_strings, narrow, partitions_of
from vedette.partitioner import partition_of

_64 = (1 << 64) - 1


KEY = (0x0706050403020100, 0x0F0E0D0C0B0A0908)


def reference(text: str | None, key: tuple[int, int] = KEY) -> int:
    """SipHash-2-4 as its paper states it; 0 for null alone."""
    if text is None:
        return 0
    message = text.encode()
    words = [message[i : i + 8] for i in range(0, len(message) - len(message) % 8, 8)]
    last = message[8 * len(words) :].ljust(7, b"\0") + bytes([len(message) % 256])
    v = [key[0] ^ 0x736F6D6570736575, key[1] ^ 0x646F72616E646F6D,
         key[0] ^ 0x6C7967656E657261, key[1] ^ 0x7465646279746573]  # fmt: skip

    def rotated(x: int, bits: int) -> int:
        return (x << bits | x >> 64 - bits) & _64

    def rounds(count: int) -> None:
        for _ in range(count):
            v[0], v[2] = v[0] + v[1] & _64, v[2] + v[3] & _64
            v[1], v[3] = rotated(v[1], 13) ^ v[0], rotated(v[3], 16) ^ v[2]
            v[0] = rotated(v[0], 32)
            v[2], v[0] = v[2] + v[1] & _64, v[0] + v[3] & _64
            v[1], v[3] = rotated(v[1], 17) ^ v[2], rotated(v[3], 21) ^ v[0]
            v[2] = rotated(v[2], 32)

    for word in (*words, last):
        number = int.from_bytes(word, "little")
        v[3] ^= number
        rounds(2)
        v[0] ^= number
    v[2] ^= 0xFF
    rounds(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3] or 1


def test_the_published_vector() -> None:
    """The example of the paper's appendix A: the bytes 0 to 14 under the key of the bytes 0 to 15."""
    text = bytes(range(15)).decode()
    assert hash_strings(pa.array([text]), KEY).tolist() == [0xA129CA6149BE45E5] == [reference(text)]


texts = st.lists(st.one_of(st.none(), st.just(""), st.text()), max_size=30)


@settings(deadline=None)
@given(texts)
def test_any_strings(strings: list[str | None]) -> None:
    """Every string, empty or in any script, has the hash of its UTF-8 bytes; null has 0."""
    assert hash_strings(pa.array(strings, pa.string()), KEY).tolist() == [reference(text) for text in strings]


@settings(deadline=None)
@given(texts, st.integers(0, 30), st.integers(0, 30))
def test_slices(strings: list[str | None], start: int, length: int) -> None:
    """A slice of an array has the hashes of its strings, not of those before it."""
    part = pa.array(strings, pa.string()).slice(min(start, len(strings)), length)
    assert hash_strings(part, KEY).tolist() == [reference(text) for text in part.to_pylist()]


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())], ids=str)
def test_other_string_types(kind: pa.DataType) -> None:
    """How Arrow stores the strings makes no difference."""
    strings = ["ä", None, "", "ä", "b" * 100, None]
    array = pa.array(strings, pa.string())
    array = array.dictionary_encode() if pa.types.is_dictionary(kind) else array.cast(kind)
    for part in (array, array.slice(1, 4)):
        assert hash_strings(part, KEY).tolist() == [reference(text) for text in part.to_pylist()]


@pytest.mark.parametrize("array", [pa.nulls(3), pa.nulls(3, pa.string()), pa.array([], pa.string())])
def test_nothing_to_hash(array: pa.Array) -> None:
    """Nulls alone, of any type, are all 0, and an empty array gives an empty one."""
    assert hash_strings(array, KEY).tolist() == [0] * len(array)


@given(st.lists(st.one_of(st.just(0), st.just(1 << 32), st.integers(0, _64))))
def test_narrow(hashes: list[int]) -> None:
    """Narrowed to 32 bits, a hash is still 0 only if the identifier was missing."""
    low = narrow(np.array(hashes, np.uint64)).tolist()
    assert low == [0 if h == 0 else (h & 0xFFFFFFFF or 1) for h in hashes]


@given(st.lists(st.text(max_size=70), max_size=20), st.integers(1, 1024), st.integers(0, 5))
def test_partitions_of_many_keys_are_those_of_each(keys: list[str], partitions: int, start: int) -> None:
    """The partition of every key, also in a slice of an array, is the one from vedette.partitioner for it alone."""
    array = pa.array(keys, pa.string()).slice(min(start, len(keys)))
    expected = [partition_of(key.encode(), partitions) for key in array.to_pylist()]
    assert partitions_of(array, partitions).tolist() == expected
