"""The gain from a second worker: processor time per transaction of one worker, and of two that share the partitions."""

from contextlib import ExitStack
from dataclasses import dataclass
from time import perf_counter

from bench.environment import environment, wait_until
from bench.measurement import Measurement, Setup
from features.store import RedisStore
from vedette.topics import Name

_START_S = 180.0
_LONGEST_S = 600.0
_WARM = 5_000
_DECISIONS = "vedette_decisions_total{"


@dataclass(frozen=True)
class Workers(Measurement):
    """Figures of the same load on one worker and on two.

    Attributes:
        one_per_s: Transactions per second of one worker, publishing them included.
        two_per_s: Transactions per second of two; on two cores, shared with everything else, they cannot do much more
            than one.
        one_cpu_us: Processor time of the one worker, microseconds per transaction.
        two_cpu_us: Processor time of both workers together, microseconds per transaction.
        broker_cpu_us: Processor time of the broker in the run with two, publishing and reading back included.
        redis_cpu_us: Processor time of Redis in the run with two.
        ratio: Throughput of two relative to one if each had a dedicated core: twice the one's processor time
            divided by the two's.
        lost: Transactions without a decision, in the run with two.
        doubled: Decisions beyond the first of a transaction, in the run with two.
        second_share: Fraction of the decisions that the second worker made.
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
    second_share: float


@dataclass(frozen=True)
class _Run:
    shares: list[float]
    per_s: float
    cpu_us: dict[str, float]
    decided: int
    sent: int


def measure(setup: Setup, *, transactions: int, accounts: int) -> Workers:
    """Run the same load with one worker and with two, each on a separate stack."""
    one, two = (_run(setup.within(str(workers)), workers, transactions, accounts) for workers in (1, 2))
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
        second_share=round(two.shares[1], 3),
    )


def _run(setup: Setup, workers: int, transactions: int, accounts: int) -> _Run:
    with environment(setup) as bench, ExitStack() as running:
        setup.say(f"starting {workers} of 2 workers")
        benches = [bench, *(bench.with_own_metrics() for _ in range(workers - 1))]
        processes = [running.enter_context(each.worker()) for each in benches]
        warm = bench.load(_WARM, accounts)
        store = RedisStore(bench.settings.redis)

        def shared() -> bool:
            return bench.applied(store) == warm and all(each.owns() for each in benches)

        wait_until(shared, _START_S, "the first batches of every worker", processes[0], every_s=0.5)
        before = bench.cpu_s(processes)
        setup.say(f"publishing {transactions:,} transactions of {accounts:,} accounts")
        started = perf_counter()
        sent = warm + bench.load(transactions, accounts, seed=1)
        ended = wait_until(lambda: bench.applied(store) >= sent, _LONGEST_S, "the last batch", processes[0])
        after = bench.cpu_s(processes)
        cpu_us = {name: round((after[name] - before[name]) / transactions * 1e6, 2) for name in after}
        decided = [sum(value for name, value in each.metrics().items() if _DECISIONS in name) for each in benches]
        shares = [part / sum(decided) for part in decided]
        return _Run(shares, transactions / (ended - started), cpu_us, bench.messages(Name.DECISIONS), sent)
