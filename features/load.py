"""The state that a backfill leaves, laid where the worker that owns it will look: history first, then the stream."""

from collections.abc import Callable, Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass

from aiokafka.partitioner import murmur2
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from features.backfill import Backfill
from features.store import RedisStore
from vedette import keys
from vedette.errors import StateError, UnavailableError
from vedette.settings import Settings
from vedette.topics import Name

_AT_ONCE = 2_000
_TIMEOUT_S = 10.0

Positions = Mapping[Name, Mapping[int, int]]
"""Topic → partition → the first offset that the history does not cover."""


@dataclass(frozen=True)
class Loaded:
    """How many states were written."""

    accounts: int
    entities: int


def partition_of(account_id: str, partitions: int) -> int:
    """The partition that producers give an account: Kafka's murmur2 of the key, as Java clients and librdkafka do."""
    hashed: int = murmur2(account_id.encode())
    return (hashed & 0x7FFFFFFF) % partitions


def refuse_beside_workers(settings: Settings) -> None:
    """Raise unless no worker is at work.

    Raises:
        StateError: The workers' group has members.
        UnavailableError: The broker, which knows that, does not answer.
    """
    group = settings.worker.group
    client = AdminClient({**settings.kafka.client_config(), "log_level": 0})
    try:
        found = client.describe_consumer_groups([group], request_timeout=_TIMEOUT_S)[group].result(_TIMEOUT_S)
    except (KafkaException, FutureTimeoutError) as error:
        raise UnavailableError(
            f"the broker at {settings.kafka.bootstrap_servers} does not tell whether a worker runs: {error}",
            remedy="check [kafka] bootstrap_servers; `vedette doctor` looks",
        ) from error
    if found.members:
        raise StateError(f"{len(found.members)} workers are running in group {group!r}", remedy="stop them first")


def load_state(
    state: Backfill,
    store: RedisStore,
    partitions: int,
    *,
    overwrite: bool = False,
    positions: Positions | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Loaded:
    """Write the state of all accounts and entities, before a worker first starts.

    Labels that the backfill still holds back are not part of the state; they are for the stream to bring. While this
    runs, and if it fails half-way, no worker can claim a partition.

    Args:
        state: A backfill that has seen the history.
        store: Where it goes.
        partitions: Of the transactions and of the activity topic.
        overwrite: Forget what the store holds; else it must be empty, as far as these partitions go.
        positions: Where the worker begins to read; None is at the beginning of its topics.
        on_progress: Told how many states have been written.

    Raises:
        StateError: There is state already.
        UnavailableError: Redis does not answer.
    """
    if overwrite:
        store.clear(partitions)
    for partition in range(partitions):
        if not overwrite and store.meta(partition):
            raise StateError(
                f"partition {partition} already has state under {store.prefix!r}",
                remedy="take another Redis or another [redis] prefix, or replace the state with --overwrite",
            )
    epochs = {partition: store.claim(partition).epoch for partition in range(partitions)}
    for partition, epoch in epochs.items():
        store.commit(partition, epoch, {}, {keys.LOADING: 1})
    written = 0
    for partition, blobs in _by_partition(state, store.prefix, partitions).items():
        names = list(blobs)
        for start in range(0, len(names), _AT_ONCE):
            part = names[start : start + _AT_ONCE]
            store.commit(partition, epochs[partition], {name: blobs[name] for name in part}, {})
            on_progress(written := written + len(part))
    for partition, epoch in epochs.items():
        begin = {keys.position(topic): offsets[partition] for topic, offsets in (positions or {}).items()}
        store.commit(partition, epoch, {}, {**begin, keys.LOADING: 0})
    return Loaded(len(state.accounts), len(state.entities))


def _by_partition(state: Backfill, prefix: str, partitions: int) -> dict[int, dict[str, bytes]]:
    """All blobs under their keys, by the partition whose owner will look for them."""
    blobs: dict[int, dict[str, bytes]] = {partition: {} for partition in range(partitions)}
    for account, blob in state.accounts.items():
        partition = partition_of(account, partitions)
        blobs[partition][f"{keys.account(prefix, partition)}{account}"] = blob
    for entity, blob in state.entities.items():
        partition = entity % partitions
        blobs[partition][f"{keys.entity(prefix, partition)}{entity:x}"] = blob
    return blobs
