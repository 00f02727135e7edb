"""Bytes of Redis memory per account with twenty events in its windows."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import redis

from bench.rig import rig
from features import Backfill, RedisStore
from producers.simulation import Simulation
from producers.simulator import simulate
from vedette import keys

_EVENTS = 20
_PROTOTYPES = 20_000
_AT_ONCE = 5_000


@dataclass(frozen=True)
class State:
    """Redis' own count of its memory, divided by the accounts."""

    bytes_per_account: float
    blob_bytes: float
    accounts: int


def measure(directory: Path, *, accounts: int, redis_kind: str, say: Callable[[str], None]) -> State:
    """Write the states of this many accounts as the worker does, and ask Redis how much memory it took.

    The blobs are those of some 20,000 simulated accounts after exactly twenty payments within 31 days, written again
    under other account ids until there are enough.
    """
    say("simulating")
    blobs = _blobs()
    with rig(directory, broker="embedded", redis=redis_kind) as bench:
        client: Any = redis.Redis.from_url(bench.settings.redis.url)
        store = RedisStore(bench.settings.redis)
        before = int(client.info("memory")["used_memory"])
        partitions = bench.settings.topics.partitions
        epochs = [store.claim(partition).epoch for partition in range(partitions)]
        say(f"writing {accounts:,} states")
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
        after = int(client.info("memory")["used_memory"])
    mean = float(np.mean([len(blob) for blob in blobs]))
    return State(round((after - before) / accounts, 1), round(mean, 1), accounts)


def _blobs() -> list[bytes]:
    """States of simulated accounts with exactly twenty payments, in a month of the simulator's ordinary life."""
    state = Backfill()
    seen: dict[str, int] = {}
    for batch in simulate(Simulation(customers=_PROTOTYPES, terminals=_PROTOTYPES // 10, days=30, seed=3)):
        left: list[int] = []
        for row, account in enumerate(batch.column("account_id").to_pylist()):
            seen[account] = seen.get(account, 0) + 1
            if seen[account] <= _EVENTS:
                left.append(row)
        state.advance(batch.take(left))
    return [blob for account, blob in state.accounts.items() if seen[account] >= _EVENTS]
