"""What a second worker is worth: processor time per transaction of one worker, and of two that share the partitions."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from bench.rig import rig, wait_until
from features import RedisStore
from vedette.topics import Name

_START_S = 180.0
_LONGEST_S = 600.0
_WARM = 5_000


@dataclass(frozen=True)
class Workers:
    """What one worker and two do with the same load.

    Attributes:
        one_per_s: Transactions per second of one worker, publishing them included.
        two_per_s: Likewise of two; on two cores, which they share with everything else, no more is to be expected.
        one_cpu_us: Processor time of the worker, microseconds per transaction.
        two_cpu_us: Likewise, of both together.
        broker_cpu_us: Likewise, of the broker in the run with two; publishing and reading back included.
        redis_cpu_us: Likewise, of Redis.
        ratio: What two would do to what one does, each with a core of its own: twice the one's processor time by the
            two's.
        lost: Transactions without a decision, in the run with two.
        doubled: Decisions beyond the first, likewise.
    """

    one_per_s: float
    two_per_s: float
    one_cpu_us: float
    two_cpu_us: float
    broker_cpu_us: float
    redis_cpu_us: float
    ratio: float
    lost: int
    doubled: int


@dataclass(frozen=True)
class _Run:
    per_s: float
    cpu_us: dict[str, float]
    decided: int
    sent: int


def measure(
    directory: Path, *, transactions: int, accounts: int, broker: str, redis: str, say: Callable[[str], None]
) -> Workers:  # fmt: skip
    """Run the same load past one worker and past two, each on a stack of its own."""
    one, two = (
        _run(directory / str(workers), workers, transactions, accounts, broker, redis, say) for workers in (1, 2)
    )
    return Workers(
        one_per_s=round(one.per_s, 1),
        two_per_s=round(two.per_s, 1),
        one_cpu_us=one.cpu_us["worker"],
        two_cpu_us=two.cpu_us["worker"],
        broker_cpu_us=two.cpu_us["broker"],
        redis_cpu_us=two.cpu_us["redis"],
        ratio=round(2 * one.cpu_us["worker"] / two.cpu_us["worker"], 2),
        lost=max(two.sent - two.decided, 0),
        doubled=max(two.decided - two.sent, 0),
    )


def _run(
    directory: Path, workers: int, transactions: int, accounts: int, broker: str, redis: str, say: Callable[[str], None]
) -> _Run:
    with rig(directory, broker=broker, redis=redis) as bench, ExitStack() as running:
        say(f"starting {workers} of 2 workers")
        rigs = [bench, *(bench.apart() for _ in range(workers - 1))]
        processes = [running.enter_context(each.worker()) for each in rigs]
        warm = bench.load(_WARM, accounts)
        store = RedisStore(bench.settings.redis)

        def shared() -> bool:
            return bench.applied(store) == warm and all(each.owns() for each in rigs)

        wait_until(shared, _START_S, "the first batches of every worker", processes[0], every_s=0.5)
        before = bench.cpu_s(processes)
        say(f"publishing {transactions:,} transactions of {accounts:,} accounts")
        started = perf_counter()
        sent = warm + bench.load(transactions, accounts, seed=1)
        ended = wait_until(lambda: bench.applied(store) >= sent, _LONGEST_S, "the last batch", processes[0])
        after = bench.cpu_s(processes)
        cpu_us = {name: round((after[name] - before[name]) / transactions * 1e6, 2) for name in after}
        return _Run(transactions / (ended - started), cpu_us, bench.messages(Name.DECISIONS), sent)
