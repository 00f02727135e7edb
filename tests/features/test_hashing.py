"""Identifiers as numbers, against the same arithmetic with Python's own integers."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.hashing import hash_strings, narrow

_64 = (1 << 64) - 1


def reference(text: str | None) -> int:
    """FNV-1a, then MurmurHash3's fmix64; 0 for null alone."""
    if text is None:
        return 0
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = (h ^ byte) * 0x100000001B3 & _64
    h = (h ^ h >> 33) * 0xFF51AFD7ED558CCD & _64
    h = (h ^ h >> 33) * 0xC4CEB9FE1A85EC53 & _64
    return h ^ h >> 33 or 1


texts = st.lists(st.one_of(st.none(), st.just(""), st.text()), max_size=30)


@settings(deadline=None)
@given(texts)
def test_any_strings(strings: list[str | None]) -> None:
    """Every string, empty or in any script, has the hash of its UTF-8 bytes; null has 0."""
    assert hash_strings(pa.array(strings, pa.string())).tolist() == [reference(text) for text in strings]


@settings(deadline=None)
@given(texts, st.integers(0, 30), st.integers(0, 30))
def test_slices(strings: list[str | None], start: int, length: int) -> None:
    """A slice of an array has the hashes of its own strings, not of those before it."""
    part = pa.array(strings, pa.string()).slice(min(start, len(strings)), length)
    assert hash_strings(part).tolist() == [reference(text) for text in part.to_pylist()]


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())], ids=str)
def test_other_string_types(kind: pa.DataType) -> None:
    """How Arrow stores the strings makes no difference."""
    strings = ["ä", None, "", "ä", "b" * 100, None]
    array = pa.array(strings, pa.string())
    array = array.dictionary_encode() if pa.types.is_dictionary(kind) else array.cast(kind)
    for part in (array, array.slice(1, 4)):
        assert hash_strings(part).tolist() == [reference(text) for text in part.to_pylist()]


@pytest.mark.parametrize("array", [pa.nulls(3), pa.nulls(3, pa.string()), pa.array([], pa.string())])
def test_nothing_to_hash(array: pa.Array) -> None:
    """Nulls alone, of whatever type, are all 0, and an empty array gives an empty one."""
    assert hash_strings(array).tolist() == [0] * len(array)


@given(st.lists(st.one_of(st.just(0), st.just(1 << 32), st.integers(0, _64))))
def test_narrow(hashes: list[int]) -> None:
    """Narrowed to 32 bits, a hash is still 0 only if it was missing."""
    low = narrow(np.array(hashes, np.uint64)).tolist()
    assert low == [0 if h == 0 else (h & 0xFFFFFFFF or 1) for h in hashes]
