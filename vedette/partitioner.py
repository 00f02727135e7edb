"""The partition of a key: Kafka's default partitioner, murmur2 of the key's bytes.

Java clients use it by default, clients based on librdkafka with `partitioner = murmur2_random`. A worker stores an
account's state with the partition on which the account's messages arrive, so all producers must agree.
"""

PARTITIONER = "murmur2_random"
"""Name of the same partitioner in librdkafka."""

_SEED = 0x9747B28C
_MULTIPLIER = 0x5BD1E995
_32_BITS = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Return the 32-bit MurmurHash2 of some bytes, unsigned, with the seed that Kafka uses.

    Source: org.apache.kafka.common.utils.Utils.murmur2.
    """
    h = _SEED ^ len(data)
    whole = len(data) & ~3
    for start in range(0, whole, 4):
        k = int.from_bytes(data[start : start + 4], "little") * _MULTIPLIER & _32_BITS
        k = (k ^ k >> 24) * _MULTIPLIER & _32_BITS
        h = h * _MULTIPLIER & _32_BITS ^ k
    if rest := data[whole:]:
        h = (h ^ int.from_bytes(rest, "little")) * _MULTIPLIER & _32_BITS
    h = (h ^ h >> 13) * _MULTIPLIER & _32_BITS
    return h ^ h >> 15


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition that Kafka's default partitioner gives a key.

    Args:
        key: The message's key; for a payment or a label, the account id in UTF-8.
        partitions: Number of partitions of the topic.
    """
    return (murmur2(key) & 0x7FFFFFFF) % partitions
