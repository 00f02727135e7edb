"""From the produce call to the decision readable, at a steady rate."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import numpy as np
from numpy.typing import NDArray

from bench.probe import Probe
from bench.rig import Rig, rig, wait_until
from features import RedisStore

_WARM_S = 30
"""Until then the broker's compiler takes half a core."""
_START_S = 180.0


@dataclass(frozen=True)
class Latency:
    """Percentiles in milliseconds at a rate per second."""

    rate: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    decisions: int


def measure(
    directory: Path, *, rate: int, seconds: int, partitions: int, broker: str, redis: str, say: Callable[[str], None]
) -> Latency:
    """Run a worker under a steady load; the first seconds, in which everything warms up, do not count."""
    with rig(directory, broker=broker, redis=redis, partitions=partitions) as bench:
        sent = bench.load(1_000, 1_000)
        store = RedisStore(bench.settings.redis)
        with bench.worker() as worker:
            say("waiting for the worker")
            wait_until(lambda: bench.applied(store) == sent, _START_S, "the first batches", worker)
            measured = _under_load(bench, worker, rate, seconds, say)
    p50, p95, p99 = (round(float(value), 2) for value in np.percentile(measured, (50, 95, 99)))
    return Latency(rate, p50, p95, p99, len(measured))


def _under_load(
    bench: Rig, worker: Popen[bytes], rate: int, seconds: int, say: Callable[[str], None]
) -> NDArray[np.float64]:
    """Latencies in milliseconds of a steady load, after it has warmed up for some seconds."""
    with Probe(bench, rate) as probe:
        wait_until(lambda: len(probe.latencies) >= _WARM_S * rate, _START_S, "warming up", worker)
        start = len(probe.latencies)
        say(f"{seconds} s at {rate:,}/s")
        wait_until(lambda: len(probe.latencies) >= start + seconds * rate, seconds * 3.0, "the measurement", worker)
        return np.array(probe.latencies[start:])
