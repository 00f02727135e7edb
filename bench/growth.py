"""Whether the worker is as fast with a million accounts as with ten thousand, and whether its memory stays bounded."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.rig import rig, wait_until
from features import RedisStore

_START_S = 180.0
_LONGEST_S = 1_800.0


@dataclass(frozen=True)
class Growth:
    """Transactions per second with few and with many accounts, their ratio, and memory of the run with many."""

    few: float
    many: float
    ratio: float
    rss_after_half_mb: float
    rss_at_end_mb: float


def measure(
    directory: Path, *, transactions: int, few: int, many: int, broker: str, redis: str, say: Callable[[str], None]
) -> Growth:
    """Two runs over the same number of transactions, each on a stack of its own."""
    rates: list[float] = []
    memory: list[float] = []
    for accounts in (few, many):
        with rig(directory / str(accounts), broker=broker, redis=redis) as bench:
            say(f"publishing {transactions:,} transactions of {accounts:,} accounts")
            sent = bench.load(transactions, accounts)
            store = RedisStore(bench.settings.redis)
            with bench.worker() as worker:
                process = psutil.Process(worker.pid)

                def reached(part: float) -> Callable[[], bool]:
                    return lambda: bench.applied(store) >= sent * part  # noqa: B023 — used within this round

                wait_until(reached(0.05), _START_S, "the first batches", worker)
                say("running")
                first, started = bench.applied(store), wait_until(reached(0.05), 1.0, "the start")
                wait_until(reached(0.5), _LONGEST_S, "half of it", worker)
                memory.append(process.memory_info().rss / 1e6)
                ended = wait_until(reached(1.0), _LONGEST_S, "the last batch", worker)
                memory.append(process.memory_info().rss / 1e6)
            rates.append((sent - first) / (ended - started))
    return Growth(rates[0], rates[1], round(rates[1] / rates[0], 3), round(memory[2], 1), round(memory[3], 1))
