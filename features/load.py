"""Load the final state of a backfill into the store, so that the worker continues from history on the stream."""

from collections.abc import Callable, Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass

import pyarrow as pa
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from adapters.kafka_client import client_config
from features.backfill import Backfill
from features.columns import account_hash
from features.store import RedisStore
from vedette import keys
from vedette.errors import StateError, UnavailableError
from vedette.partitioner import partition_of
from vedette.settings import Settings
from vedette.topics import Name

_AT_ONCE = 2_000
_TIMEOUT_S = 10.0

Positions = Mapping[Name, Mapping[int, int]]
"""Topic → partition → the first offset that the history does not cover."""


@dataclass(frozen=True)
class Loaded:
    """Numbers of states written."""

    accounts: int
    entities: int


def refuse_beside_workers(settings: Settings) -> None:
    """Raise if a worker is running.

    Raises:
        StateError: The workers' group has members.
        UnavailableError: The broker, which holds the group, does not answer.
    """
    group = settings.worker.group
    client = AdminClient({**client_config(settings.kafka), "log_level": 0})
    try:
        found = client.describe_consumer_groups([group], request_timeout=_TIMEOUT_S)[group].result(_TIMEOUT_S)
    except (KafkaException, FutureTimeoutError) as error:
        raise UnavailableError(
            f"the broker at {settings.kafka.bootstrap_servers} does not report whether a worker is running: {error}",
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

    Labels that are still pending in the backfill are not part of the state; the stream delivers them. During the load,
    and after one that failed half-way, no worker can acquire a partition.

    Args:
        state: A backfill that has processed the history.
        store: The store to write to.
        partitions: Number of partitions of the transactions and activity topics.
        overwrite: Delete existing state; otherwise these partitions must be empty.
        positions: Offsets from which the worker reads; None for the beginning of its topics.
        on_progress: Called with the number of states written.

    Raises:
        StateError: State already exists.
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
    epochs = {partition: store.claim(partition, state.identity.fingerprint).epoch for partition in range(partitions)}
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
    """Return all blobs by key, grouped by the partition that owns them."""
    blobs: dict[int, dict[str, bytes]] = {partition: {} for partition in range(partitions)}
    hashes = account_hash(pa.array(list(state.accounts), pa.string()), state.identity).tolist()
    for number, (account, blob) in zip(hashes, state.accounts.items(), strict=True):
        partition = partition_of(account.encode(), partitions)
        blobs[partition][keys.hashed(keys.account(prefix, partition), number)] = blob
    for entity, blob in state.entities.items():
        partition = entity % partitions
        blobs[partition][keys.hashed(keys.entity(prefix, partition), entity)] = blob
    return blobs
