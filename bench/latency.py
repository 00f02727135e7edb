"""Milliseconds from the produce call to a readable decision: a floor, Quix Streams and Vedette under the same load.

The floor is a bare confluent-kafka loop in place of the worker: nothing can be faster with the same clients, broker and
load. All three run on one stack, several times in turn, since the state of a machine changes more slowly than a
measurement takes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import psutil

from bench.environment import BenchEnvironment, environment, wait_until
from bench.load_generator import LoadGenerator
from bench.measurement import Measurement, Setup
from vedette.topics import Name

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from subprocess import Popen

CONTENDERS = ("floor", "quix", "vedette")
IDLE_RATE = 50
"""Payments per second of a small institution."""

_PERCENTILES = (50.0, 95.0, 99.0, 99.9)
_NAMES = ("p50_ms", "p95_ms", "p99_ms", "p999_ms")
_PRELOAD = 1_000
_BROKER_WARM_S = 30.0
"""Seconds until the broker's compiler no longer uses half a core."""
_WARM_S = 10.0
_START_S = 180.0
_KEPT_UP = 0.95
"""Fraction of the payments sent in a measurement that must be decided within it."""


@dataclass(frozen=True)
class LatencyRow:
    """Figures of one contender at one rate.

    Attributes:
        contender: One of CONTENDERS.
        rate: Payments per second.
        p50_ms: Median.
        p95_ms: 95th percentile.
        p99_ms: 99th percentile.
        p999_ms: 99.9th percentile.
        kept_up: Whether decisions were as fast as payments; if not, the percentiles grow with the length of
            measurement.
        decisions: Number of decisions measured.
        cpu: Cores used by each process: `contender`, `broker`, `redis` and `load` (this one).
        owners_behind_p99_ms: 99th percentile of the time from the publication of a payment's activity until the owner
            of its merchant, device, address or payee has written it, interpolated within the bucket of the worker's
            histogram; of Vedette only.
    """

    contender: str
    rate: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    p999_ms: float
    kept_up: bool
    decisions: int
    cpu: dict[str, float]
    owners_behind_p99_ms: float | None = None


@dataclass(frozen=True)
class LatencyComparison(Measurement):
    """Medians over the turns, by rate and contender.

    Attributes:
        seconds: Length of each measurement.
        medians: One row for each rate and contender.
        turns: Every single measurement, in order.
    """

    seconds: int
    medians: list[LatencyRow]
    turns: list[LatencyRow]

    def lines(self) -> list[str]:
        """Return a table."""
        parts = tuple(self.medians[0].cpu)
        head = "    rate  contender       p50      p95      p99    p99.9  " + "  ".join(f"{part:>9}" for part in parts)
        return [
            f"{head}   (milliseconds; cores)",
            *(
                f"{row.rate:>6,}/s  {row.contender:<9}  {row.p50_ms:>7.1f}  {row.p95_ms:>7.1f}  {row.p99_ms:>7.1f}  "
                f"{row.p999_ms:>7.1f}  {'  '.join(f'{row.cpu[part]:>9.2f}' for part in parts)}"
                f"{'' if row.kept_up else '   did not keep up'}"
                f"{'' if row.owners_behind_p99_ms is None else f'   owners behind {row.owners_behind_p99_ms:,.0f}'}"
                for row in self.medians
            ),
        ]


def measure(
    setup: Setup,
    *,
    rates: Sequence[int],
    seconds: int,
    turns: int,
    partitions: int,
    contenders: Sequence[str] = CONTENDERS,
    broker_warm_s: float = _BROKER_WARM_S,
    warm_s: float = _WARM_S,
) -> LatencyComparison:
    """Measure each contender at each rate, `turns` times in turn.

    Args:
        setup: Setup of the benchmark.
        rates: Payments per second.
        seconds: Length of each measurement.
        turns: Number of measurements of each contender at each rate.
        partitions: Number of partitions of the topics.
        contenders: Those to measure.
        broker_warm_s: Length of a load before everything else, for the broker to warm up.
        warm_s: Length of the load before each measurement.

    Raises:
        VedetteError: A contender ended, or does not start.
    """
    rows: list[LatencyRow] = []
    with environment(setup, partitions=partitions) as bench:
        if broker_warm_s:
            setup.say("warming the broker up")
            _measure(bench.with_prefix("warm."), "floor", max(rates), 1, broker_warm_s)
        for rate in rates:
            for turn in range(turns):
                for contender in contenders:
                    setup.say(f"turn {turn + 1} of {turns}: {contender} at {rate:,}/s")
                    own = bench.with_prefix(f"{contender}-{rate}-{turn}.")
                    rows.append(_measure(own, contender, rate, seconds, warm_s))
    medians = [
        _median([row for row in rows if (row.rate, row.contender) == (rate, contender)])
        for rate in rates
        for contender in contenders
    ]
    return LatencyComparison(seconds, medians, rows)


def _measure(bench: BenchEnvironment, contender: str, rate: int, seconds: float, warm_s: float) -> LatencyRow:
    with _started(bench, contender) as process:
        sent = bench.load(_PRELOAD, _PRELOAD)
        wait_until(
            lambda: bench.messages(Name.DECISIONS) >= sent, _START_S, f"the first decisions of {contender}", process,
            every_s=0.2,
        )  # fmt: skip
        with LoadGenerator(bench, rate) as load:
            _pass(warm_s, process)
            lags = _owner_lags(bench) if contender == "vedette" else {}
            first, before = len(load.latencies), _cpu_s(bench, process)
            elapsed = _pass(seconds, process)
            measured, after = np.array(load.latencies[first:]), _cpu_s(bench, process)
            lags = {most: count - lags[most] for most, count in _owner_lags(bench).items()} if lags else {}
    percentiles = np.percentile(measured, _PERCENTILES) if len(measured) else np.full(len(_PERCENTILES), np.inf)
    p50, p95, p99, p999 = (round(float(value), 2) for value in percentiles)
    return LatencyRow(
        contender, rate, p50, p95, p99, p999,
        kept_up=len(measured) >= _KEPT_UP * rate * elapsed,
        decisions=len(measured),
        cpu={part: round((after[part] - before[part]) / elapsed, 3) for part in after},
        owners_behind_p99_ms=_percentile_ms(lags, 0.99) if contender == "vedette" else None,
    )  # fmt: skip


def _owner_lags(bench: BenchEnvironment) -> dict[float, float]:
    """Return the number of observations up to each bound of the worker's histogram of owners' lag, in seconds."""
    name, end = 'vedette_owner_lag_seconds_bucket{le="', '"}'
    return {
        float(key.removeprefix(name).removesuffix(end)): count
        for key, count in bench.metrics().items()
        if key.startswith(name)
    }


def _percentile_ms(counts: Mapping[float, float], level: float) -> float | None:
    """Return a percentile of a histogram with cumulative counts by bound, as Prometheus does; None if it is empty."""
    wanted = level * max(counts.values(), default=0.0)
    below, least = 0.0, 0.0
    for most, count in sorted(counts.items()):
        if count >= wanted > 0:
            return round(1000 * (least + (most - least) * (wanted - below) / (count - below)), 1)
        below, least = count, most
    return None


def _started(bench: BenchEnvironment, contender: str) -> "AbstractContextManager[Popen[bytes]]":
    return bench.worker() if contender == "vedette" else bench.reference(f"bench.references.{contender}")


def _pass(seconds: float, process: "Popen[bytes]") -> float:
    """Wait while a process is running; return the elapsed seconds."""
    started = perf_counter()
    ended = wait_until(
        lambda: perf_counter() - started >= seconds, seconds + _START_S, "the end of the measurement", process
    )
    return ended - started


def _cpu_s(bench: BenchEnvironment, process: "Popen[bytes]") -> dict[str, float]:
    """Return the processor seconds used so far by the contender, the broker, Redis and this process."""
    used = bench.cpu_s([process])
    own = psutil.Process().cpu_times()
    return {
        "contender": used["worker"],
        "broker": used["broker"],
        "redis": used["redis"],
        "load": own.user + own.system,
    }


def _median(rows: Sequence[LatencyRow]) -> LatencyRow:
    lags = [row.owners_behind_p99_ms for row in rows if row.owners_behind_p99_ms is not None]
    p50, p95, p99, p999 = (round(float(np.median([getattr(row, name) for row in rows])), 2) for name in _NAMES)
    return LatencyRow(
        rows[0].contender, rows[0].rate, p50, p95, p99, p999,
        kept_up=all(row.kept_up for row in rows),
        decisions=sum(row.decisions for row in rows),
        cpu={part: round(float(np.median([row.cpu[part] for row in rows])), 3) for part in rows[0].cpu},
        owners_behind_p99_ms=float(np.median(lags)) if lags else None,
    )  # fmt: skip
