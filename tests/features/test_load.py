"""The worker's own pipeline of keys and partitions finds the history that was loaded into the store."""

from collections.abc import Callable

import msgspec
import pyarrow as pa
import pytest
from confluent_kafka import Consumer, Producer

from adapters.kafka_client import client_config
from features.backfill import Backfill
from features.columns import account_hash, entity_hash
from features.identity import OPEN
from features.load import Loaded, load_state, refuse_beside_workers
from features.store import RedisStore
from stack.local import LocalStack
from stack.state import StackState
from stack.topics import apply
from tests.conftest import wait_for
from vedette import Settings, keys
from vedette.errors import FencedError, StateError, UnavailableError
from vedette.partitioner import PARTITIONER, partition_of
from vedette.topics import Name

SettingsFor = Callable[[LocalStack, str], Settings]
START = 1_522_540_800_000


@pytest.fixture
def settings(embedded_stack: StackState, settings_for: SettingsFor, topic_prefix: str) -> Settings:
    """Settings of the shared embedded stack with keys of this test's own."""
    return settings_for(embedded_stack, topic_prefix)


@pytest.fixture
def state() -> Backfill:
    """A backfill in which three accounts paid at two merchants or to a payee, one of them from a device."""
    rows = [("t1", "c1", "m1", None), ("t2", "c2", "m2", None), ("t3", "c3", None, "m1"), ("t4", "c1", "m2", None)]
    ids, accounts, merchants, devices = zip(*rows, strict=True)
    backfill = Backfill()
    backfill.advance(
        pa.RecordBatch.from_pydict(
            {
                "transaction_id": ids,
                "account_id": accounts,
                "merchant_id": pa.array(merchants, pa.string()),
                "device_id": pa.array(devices, pa.string()),
                "amount": [100, 200, 300, 400],
                "currency": ["EUR"] * 4,
                "event_time": [START + i for i in range(4)],
            }
        )
    )
    return backfill


def test_partition_is_the_producers(settings: Settings) -> None:
    """Every account gets the partition that librdkafka's murmur2_random gives it, including non-ASCII ids."""
    apply(settings)
    topic = settings.topics.prefix + Name.TRANSACTIONS
    producer = Producer({**client_config(settings.kafka), "partitioner": PARTITIONER})
    accounts = [*(f"C{i}" for i in range(100)), "ä", "konto-€-1", "x" * 63]
    chosen: dict[str, int] = {}
    for account in accounts:
        producer.produce(
            topic,
            b"",
            account,
            on_delivery=lambda _, message: chosen.update({message.key().decode(): message.partition()}),
        )
    producer.flush(30)
    assert chosen == {account: partition_of(account.encode(), settings.topics.partitions) for account in accounts}


def account_key(prefix: str, partitions: int, account: str) -> str:
    """Return the key of an account's state."""
    (number,) = account_hash(pa.array([account]), OPEN).tolist()
    return keys.hashed(keys.account(prefix, partition_of(account.encode(), partitions)), number)


def test_every_state_lies_where_its_owner_looks(settings: Settings, state: Backfill) -> None:
    """Accounts are under their producers' partition, entities under their hash's; a missing merchant has no state."""
    store = RedisStore(settings.redis)
    partitions = settings.topics.partitions
    assert load_state(state, store, partitions) == Loaded(accounts=3, entities=3)
    prefix = settings.redis.prefix
    for account, blob in state.accounts.items():
        assert store.load([account_key(prefix, partitions, account)]) == [blob]
    named = [("merchant_id", "m1"), ("merchant_id", "m2"), ("device_id", "m1")]
    for entity in [int(entity_hash(field, pa.array([name]), OPEN)[0]) for field, name in named]:
        name = f"{keys.entity(prefix, entity % partitions)}{entity:x}"
        assert store.load([name]) == [state.entities[entity]]
    store.close()


def test_a_store_in_use_is_left_alone(settings: Settings, state: Backfill) -> None:
    """Existing state of a worker is not overwritten, and its claim remains valid."""
    store = RedisStore(settings.redis)
    claim = store.claim(1)
    with pytest.raises(StateError, match="partition 1 already has state"):
        load_state(state, store, settings.topics.partitions)
    store.commit(1, claim.epoch, {}, {"pos:transactions": 5})
    assert [store.meta(partition) for partition in (0, 2, 3)] == [{}, {}, {}]
    store.close()


def test_overwriting_forgets_all_that_was_there(settings: Settings, state: Backfill) -> None:
    """With overwrite the old state and watermarks are deleted, other prefixes untouched, old owners fenced."""
    store = RedisStore(settings.redis)
    other = RedisStore(msgspec.structs.replace(settings.redis, prefix=f"{settings.redis.prefix}*other:"))
    partitions, prefix = settings.topics.partitions, settings.redis.prefix
    stale, kept = f"{keys.account(prefix, 1)}stale", f"{keys.account(other.prefix, 1)}kept"
    claim = store.claim(1)
    store.commit(1, claim.epoch, {stale: b"old"}, {"pos:transactions": 5})
    other.commit(1, other.claim(1).epoch, {kept: b"state"}, {})
    load_state(state, store, partitions, overwrite=True)
    assert store.load([stale]) == [None]
    assert store.claim(1).meta == {}
    assert other.load([kept]) == [b"state"]
    other.clear(partitions)
    assert other.load([kept]) == [None]
    account = account_key(prefix, partitions, "c1")
    assert store.load([account]) == [state.accounts["c1"]]
    with pytest.raises(FencedError):
        store.commit(1, claim.epoch, {stale: b"old"}, {})
    store.close()
    other.close()


def test_workers_begin_where_they_are_told(settings: Settings, state: Backfill) -> None:
    """The given positions become the watermarks from which workers read."""
    store = RedisStore(settings.redis)
    partitions = settings.topics.partitions
    load_state(state, store, partitions, positions={Name.LABELS: dict.fromkeys(range(partitions), 7)})
    assert store.claim(0).meta == {"pos:labels": 7}
    store.close()


def test_no_worker_starts_on_half_of_the_history(settings: Settings, state: Backfill) -> None:
    """Until everything is written no partition can be acquired, and the error names the remedy."""
    store = RedisStore(settings.redis)

    class Cut(Exception):  # noqa: N818 — what a power cut is to the process
        pass

    def cut(_: int) -> None:
        raise Cut

    with pytest.raises(Cut):
        load_state(state, store, settings.topics.partitions, on_progress=cut)
    with pytest.raises(StateError, match=r"only partly loaded into partition 2.*--overwrite"):
        store.claim(2)
    load_state(state, store, settings.topics.partitions, overwrite=True)
    assert store.claim(2).meta == {}
    store.close()


def test_running_workers_are_noticed(settings: Settings) -> None:
    """Nothing is loaded while the workers' group has a member, or if the broker does not answer."""
    apply(settings)
    refuse_beside_workers(settings)
    member = Consumer({**client_config(settings.kafka), "group.id": settings.worker.group})
    member.subscribe([settings.topics.prefix + Name.TRANSACTIONS])
    wait_for(lambda: member.poll(0.1) is not None or bool(member.assignment()))
    with pytest.raises(StateError, match="1 workers are running"):
        refuse_beside_workers(settings)
    member.close()
    nowhere = msgspec.structs.replace(settings.kafka, bootstrap_servers="127.0.0.1:1")
    with pytest.raises(UnavailableError, match="does not report whether a worker is running"):
        refuse_beside_workers(msgspec.structs.replace(settings, kafka=nowhere))
