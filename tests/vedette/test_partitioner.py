"""The partition of a key."""

import pytest

from vedette.partitioner import murmur2, partition_of

VECTORS = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}
"""Apache Kafka's own test vectors of its murmur2 (clients, UtilsTest.testMurmur2), as signed 32-bit numbers."""


@pytest.mark.parametrize(("key", "hashed"), VECTORS.items())
def test_hash_is_kafkas(key: str, hashed: int) -> None:
    """Every test vector of Apache Kafka gives its hash, and the partition that Java clients compute from it."""
    assert murmur2(key.encode()) == hashed & 0xFFFFFFFF
    assert partition_of(key.encode(), 7) == (hashed & 0x7FFFFFFF) % 7


def test_empty_key_is_a_key() -> None:
    """An empty key has a hash like any other: Java clients choose freely only where there is no key."""
    assert murmur2(b"") == 275646681
