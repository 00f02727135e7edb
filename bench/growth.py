"""Throughput of the worker with a million accounts compared with ten thousand, and whether its memory is bounded."""

from collections.abc import Callable
from dataclasses import dataclass

import psutil

from bench.environment import environment, per_second, wait_until
from bench.measurement import Measurement, Setup
from features.store import RedisStore

_START_S = 180.0
_LONGEST_S = 1_800.0


@dataclass(frozen=True)
class Growth(Measurement):
    """Transactions per second with few and with many accounts, their ratio, and memory of the run with many."""

    few: float
    many: float
    ratio: float
    rss_after_half_mb: float
    rss_at_end_mb: float


def measure(setup: Setup, *, transactions: int, few: int, many: int) -> Growth:
    """Measure two runs over the same number of transactions, each on a separate stack."""
    rates: list[float] = []
    memory: list[float] = []
    for accounts in (few, many):
        with environment(setup.within(str(accounts))) as bench:
            setup.say(f"publishing {transactions:,} transactions of {accounts:,} accounts")
            sent = bench.load(transactions, accounts)
            store = RedisStore(bench.settings.redis)
            with bench.worker() as worker:
                process = psutil.Process(worker.pid)

                def reached(part: float) -> Callable[[], bool]:
                    return lambda: bench.applied(store) >= sent * part  # noqa: B023 — used within this round

                wait_until(reached(0.05), _START_S, "the first batches", worker)
                setup.say("running")
                first, started = bench.applied(store), wait_until(reached(0.05), 1.0, "the start")
                wait_until(reached(0.5), _LONGEST_S, "half of it", worker)
                memory.append(process.memory_info().rss / 1e6)
                ended = wait_until(reached(1.0), _LONGEST_S, "the last batch", worker)
                memory.append(process.memory_info().rss / 1e6)
            rates.append(per_second(sent - first, ended - started))
    return Growth(rates[0], rates[1], round(rates[1] / rates[0], 3), round(memory[2], 1), round(memory[3], 1))
