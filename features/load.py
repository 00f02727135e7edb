"""The state that a backfill leaves, laid where the worker that owns it will look: history first, then the stream."""

from collections.abc import Mapping
from dataclasses import dataclass

from aiokafka.partitioner import murmur2

from features.backfill import Backfill
from features.store import RedisStore
from vedette import keys
from vedette.errors import StateError

_AT_ONCE = 2_000


@dataclass(frozen=True)
class Loaded:
    """How many states were written."""

    accounts: int
    merchants: int


def partition_of(account_id: str, partitions: int) -> int:
    """The partition that producers give an account: Kafka's murmur2 of the key, as Java clients and librdkafka do."""
    hashed: int = murmur2(account_id.encode())
    return (hashed & 0x7FFFFFFF) % partitions


def load_state(state: Backfill, store: RedisStore, partitions: int) -> Loaded:
    """Write the state of all accounts and merchants, before a worker first starts.

    Labels that the backfill still holds back are not part of the state; they are for the stream to bring.

    Args:
        state: A backfill that has seen the history.
        store: Empty, as far as these partitions go.
        partitions: Of the transactions and of the activity topic.

    Raises:
        StateError: A worker has already been at work on one of the partitions.
        UnavailableError: Redis does not answer.
    """
    for partition in range(partitions):
        if store.meta(partition):
            raise StateError(
                f"partition {partition} already has state under {store.prefix!r}",
                remedy="history goes into an empty store: take another Redis, or another [redis] prefix",
            )
    blobs: list[dict[str, bytes]] = [{} for _ in range(partitions)]
    for account, blob in state.accounts.items():
        partition = partition_of(account, partitions)
        blobs[partition][f"{keys.account(store.prefix, partition)}{account}"] = blob
    merchants = {merchant: blob for merchant, blob in state.merchants.items() if merchant}  # 0 is no merchant
    for merchant, blob in merchants.items():
        partition = merchant % partitions
        blobs[partition][f"{keys.merchant(store.prefix, partition)}{merchant:x}"] = blob
    for partition, mine in enumerate(blobs):
        _write(store, partition, mine)
    return Loaded(len(state.accounts), len(merchants))


def _write(store: RedisStore, partition: int, blobs: Mapping[str, bytes]) -> None:
    epoch = store.claim(partition).epoch
    names = list(blobs)
    for start in range(0, len(names), _AT_ONCE):
        store.commit(partition, epoch, {name: blobs[name] for name in names[start : start + _AT_ONCE]}, {})
