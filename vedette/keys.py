"""Names of Redis keys. Everything of a partition shares its hash tag, so one atomic step can write all of it.

Of partition 3 with prefix `vedette:` —
`vedette:{3}meta` is a hash: `epoch` (who may write), `pos:<topic>` (next offset to apply, the watermark),
`time` (latest event time applied), `src:<topic>:<partition>` (next offset of that source whose activity is applied),
`loading` (1 while history is being loaded, and after that failed: no worker may start on half of it);
`vedette:{3}a:<account_id>` and `vedette:{3}e:<hash of merchant, device or address>` are state blobs.
"""

EPOCH = "epoch"
TIME = "time"
LOADING = "loading"


def meta(prefix: str, partition: int) -> str:
    """The hash that holds a partition's epoch and watermarks."""
    return f"{prefix}{{{partition}}}meta"


def position(topic: str) -> str:
    """Field of meta: the next offset of a topic (without the deployment's prefix) to apply."""
    return f"pos:{topic}"


def source(topic: str, partition: int) -> str:
    """Field of meta: the next offset of another partition whose activity is to be applied here."""
    return f"src:{topic}:{partition}"


def account(prefix: str, partition: int) -> str:
    """What precedes the account id in the key of an account's state."""
    return f"{prefix}{{{partition}}}a:"


def entity(prefix: str, partition: int) -> str:
    """What precedes the hash in the key of a merchant's, device's or address's state."""
    return f"{prefix}{{{partition}}}e:"
