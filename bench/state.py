"""Bytes of Redis memory per account with twenty events in its windows, with payees and what accounts receive."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import redis

from bench.environment import environment
from bench.measurement import Measurement, Setup
from features.backfill import ACCOUNT, Backfill
from features.store import RedisStore
from producers.simulation import Simulation
from producers.simulator import simulate
from vedette import keys

_EVENTS = 20
_PROTOTYPES = 20_000
_AT_ONCE = 5_000


@dataclass(frozen=True)
class StateSize(Measurement):
    """Memory reported by Redis, divided by the number of accounts."""

    bytes_per_account: float
    blob_bytes: float
    payee_bytes: float
    """Mean size of a payee's state: what it received, which for an account is its incoming money."""
    payees: int
    accounts: int


def measure(setup: Setup, *, accounts: int) -> StateSize:
    """Write the states of this many accounts as the worker does, and read the memory used from Redis.

    The blobs are those of some 20,000 simulated accounts after exactly twenty payments within 31 days, written again
    under other account ids until there are enough, and those of their payees in proportion.
    """
    setup.say("simulating")
    blobs, received = _blobs()
    payees = accounts * len(received) // len(blobs)
    with environment(setup) as bench:
        client: Any = redis.Redis.from_url(bench.settings.redis.url)
        store = RedisStore(bench.settings.redis)
        before = int(client.info("memory")["used_memory"])
        partitions = bench.settings.topics.partitions
        epochs = [store.claim(partition).epoch for partition in range(partitions)]
        setup.say(f"writing {accounts:,} states")
        for start in range(0, accounts, _AT_ONCE):
            partition = start // _AT_ONCE % partitions
            name = keys.account(store.prefix, partition)
            numbers = range(start, min(start + _AT_ONCE, accounts))
            store.commit(
                partition,
                epochs[partition],
                {f"{name}C{number:07d}": blobs[number % len(blobs)] for number in numbers},
                {},
            )
        for start in range(0, payees, _AT_ONCE):
            partition = start // _AT_ONCE % partitions
            name = keys.entity(store.prefix, partition)
            numbers = range(start, min(start + _AT_ONCE, payees))
            states = {f"{name}{number:016x}": received[number % len(received)] for number in numbers}
            store.commit(partition, epochs[partition], states, {})
        after = int(client.info("memory")["used_memory"])
    return StateSize(
        bytes_per_account=round((after - before) / accounts, 1),
        blob_bytes=round(float(np.mean([len(blob) for blob in blobs])), 1),
        payee_bytes=round(float(np.mean([len(blob) for blob in received])), 1),
        payees=payees,
        accounts=accounts,
    )


def _blobs() -> tuple[list[bytes], list[bytes]]:
    """Return states of simulated accounts with exactly twenty payments in an ordinary month, and of all payees."""
    state = Backfill(kinds=(ACCOUNT, "payee"))
    seen: dict[str, int] = {}
    for batch in simulate(Simulation(customers=_PROTOTYPES, terminals=_PROTOTYPES // 10, days=30, seed=3)):
        left: list[int] = []
        for row, account in enumerate(batch.column("account_id").to_pylist()):
            seen[account] = seen.get(account, 0) + 1
            if seen[account] <= _EVENTS:
                left.append(row)
        state.advance(batch.take(left))
    accounts = [blob for account, blob in state.accounts.items() if seen[account] >= _EVENTS]
    return accounts, list(state.entities.values())
