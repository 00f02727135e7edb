"""Transactions per second of one worker process, a naive worker, Quix Streams and the bare calls."""

from dataclasses import dataclass
from time import perf_counter

from bench.environment import BenchEnvironment, environment, per_second, run_reference, wait_until
from bench.measurement import Measurement, Setup
from features.store import RedisStore
from vedette import VedetteError
from vedette.topics import Name

NAIVE_EVENTS = 3_000
QUIX_EVENTS = 40_000
_WORKER_START_S = 180.0
_LONGEST_S = 600.0


@dataclass(frozen=True)
class Throughput(Measurement):
    """Events per second, and the worker's time by stage."""

    vedette: float
    naive: float
    quix: float
    limit: float
    transactions: int
    stages_us: dict[str, float]
    """Microseconds per transaction by stage; stages overlap."""

    def lines(self) -> list[str]:
        """Return each rate with its proportion, and the stages."""
        return [
            f"vedette {self.vedette:>9,.0f}/s",
            f"naive   {self.naive:>9,.0f}/s   vedette is {self.vedette / self.naive:.0f} times as fast",
            f"quix    {self.quix:>9,.0f}/s   vedette is {self.vedette / self.quix:.1f} times as fast",
            f"limit   {self.limit:>9,.0f}/s   vedette reaches {self.vedette / self.limit:.0%} of it",
            *(f"  {stage:<9} {spent:6.2f} µs per transaction" for stage, spent in self.stages_us.items()),
        ]


def measure(setup: Setup, *, transactions: int, accounts: int, partitions: int) -> Throughput:
    """Fill the topic, then run each of the four on it alone.

    Args:
        setup: Setup of the benchmark.
        transactions: Number of transactions.
        accounts: Number of accounts they belong to.
        partitions: Number of partitions of the topics.

    Raises:
        VedetteError: A reference failed, or not every transaction got its decision.
    """
    with environment(setup, partitions=partitions) as bench:
        setup.say(f"publishing {transactions:,} transactions of {accounts:,} accounts")
        sent = bench.load(transactions, accounts)
        setup.say("the bare calls")
        limit = run_reference("bench.references.limit", bench, sent, _LONGEST_S)
        setup.say("the naive worker")
        naive = run_reference("bench.references.naive", bench, min(NAIVE_EVENTS, sent), _LONGEST_S)
        setup.say("the same features and model on Quix Streams")
        few = bench.with_prefix("few.")
        share = min(1.0, QUIX_EVENTS / sent)  # as many payments per account as for the others
        quix_events = few.load(int(sent * share), max(int(accounts * share), 100))
        quix = run_reference("bench.references.quix", few, quix_events, _LONGEST_S)
        before = bench.messages(Name.DECISIONS)
        setup.say("vedette")
        rate, stages = _worker(bench, sent)
        decided = bench.messages(Name.DECISIONS) - before
        if decided != sent:
            raise VedetteError(f"{sent:,} transactions gave {decided:,} decisions", remedy="see worker.log")
    return Throughput(rate, naive, quix, limit, sent, stages)


def _worker(bench: BenchEnvironment, sent: int) -> tuple[float, dict[str, float]]:
    store = RedisStore(bench.settings.redis)
    with bench.worker() as worker:
        wait_until(lambda: bench.applied(store) > 0, _WORKER_START_S, "the first batch", worker)
        already = bench.applied(store)
        started = perf_counter()
        ended = wait_until(lambda: bench.applied(store) >= sent, _LONGEST_S, "the last batch", worker)
        metrics = bench.metrics()
    stages = {
        name.split('"')[1]: round(value / sent * 1e6, 2)
        for name, value in metrics.items()
        if name.startswith("vedette_stage_seconds_total")
    }
    return per_second(sent - already, ended - started), stages
