"""Names of Redis keys. Everything of a partition shares its hash tag, so one atomic step can write all of it.

For partition 3 with prefix `vedette:` —
`vedette:{3}meta` is a hash: `epoch` (of the current writer), `pos:<topic>` (next offset to apply, the watermark; of
decisions, the offset from which those on payments beyond the watermark may lie),
`time` (latest event time applied), `src:<topic>:<partition>` (next offset of that source whose activity is applied),
`loading` (1 while history is being loaded, and after a failed load: no worker may start with half of it);
`vedette:{3}a:<hash of account>` and `vedette:{3}e:<hash of merchant, device, address or payee>` are state blobs;
`identity` of meta says under which version and key they are hashed.
"""

EPOCH = "epoch"
TIME = "time"
LOADING = "loading"
IDENTITY = "identity"


def meta(prefix: str, partition: int) -> str:
    """Return the key of the hash with a partition's epoch and watermarks."""
    return f"{prefix}{{{partition}}}meta"


def position(topic: str) -> str:
    """Return the field of meta with the next offset of a topic (without the deployment's prefix) to apply."""
    return f"pos:{topic}"


def source(topic: str, partition: int) -> str:
    """Return the field of meta with the next offset of another partition whose activity is applied here."""
    return f"src:{topic}:{partition}"


def account(prefix: str, partition: int) -> str:
    """Return the prefix of the hash in the key of an account's state."""
    return f"{prefix}{{{partition}}}a:"


def hashed(prefix: str, number: int) -> str:
    """Return the key of a state: the prefix of its kind and partition, and the hash."""
    return f"{prefix}{number:x}"


def entity(prefix: str, partition: int) -> str:
    """Return the prefix of the hash in the key of a merchant's, device's or address's state."""
    return f"{prefix}{{{partition}}}e:"
