"""Transactions per second of one worker process, beside a naive worker, Quix Streams and the bare calls."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from bench.rig import Rig, rig, run_reference, wait_until
from features import RedisStore
from vedette import VedetteError
from vedette.topics import Name

NAIVE_EVENTS = 3_000
QUIX_EVENTS = 40_000
_WORKER_START_S = 180.0
_LONGEST_S = 600.0


@dataclass(frozen=True)
class Throughput:
    """Events per second, and where the worker's time went."""

    vedette: float
    naive: float
    quix: float
    limit: float
    transactions: int
    stages_us: dict[str, float]
    """Microseconds per transaction by stage; stages overlap."""


def measure(
    directory: Path, *, transactions: int, accounts: int, partitions: int, broker: str, redis: str,
    say: Callable[[str], None],
) -> Throughput:  # fmt: skip
    """Fill the topic, then let each have a go at it alone.

    Args:
        directory: For the stack's data and logs.
        transactions: How many.
        accounts: Of how many accounts.
        partitions: Of the topics.
        broker: `apache` or `embedded`.
        redis: `system` or `embedded`.
        say: Told what goes on.
    """
    with rig(directory, broker=broker, redis=redis, partitions=partitions) as bench:
        say(f"publishing {transactions:,} transactions of {accounts:,} accounts")
        sent = bench.load(transactions, accounts)
        say("the bare calls")
        limit = run_reference("bench.references.limit", bench, sent, _LONGEST_S)
        say("the naive worker")
        naive = run_reference("bench.references.naive", bench, min(NAIVE_EVENTS, sent), _LONGEST_S)
        say("the same features and model on Quix Streams")
        few = bench.beside("few.")
        share = min(1.0, QUIX_EVENTS / sent)  # as many payments an account as the others see
        quix_events = few.load(int(sent * share), max(int(accounts * share), 100))
        quix = run_reference("bench.references.quix", few, quix_events, _LONGEST_S)
        before = bench.messages(Name.DECISIONS)
        say("vedette")
        rate, stages = _worker(bench, sent)
        decided = bench.messages(Name.DECISIONS) - before
        if decided != sent:
            raise VedetteError(f"{sent:,} transactions gave {decided:,} decisions", remedy="see worker.log")
    return Throughput(rate, naive, quix, limit, sent, stages)


def _worker(bench: Rig, sent: int) -> tuple[float, dict[str, float]]:
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
    return (sent - already) / (ended - started), stages
