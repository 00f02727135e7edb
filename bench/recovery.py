"""From kill -9 of the worker to the first decision of the one started in its place."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from bench.probe import Probe
from bench.rig import rig, wait_until

_RATE = 500
_START_S = 180.0


@dataclass(frozen=True)
class Recovery:
    """Seconds without a decision; `named` says whether the worker had an instance name, and so needed no time-out."""

    seconds: float
    session_timeout_s: float
    named: bool


def measure(directory: Path, *, named: bool, broker: str, redis: str, say: Callable[[str], None]) -> Recovery:
    """Kill a worker under a steady load and start another at once."""
    instance = "bench-worker" if named else ""
    with rig(directory, broker=broker, redis=redis, instance=instance) as bench, Probe(bench, _RATE) as probe:
        with bench.worker() as worker:
            say("waiting for the worker")
            wait_until(lambda: len(probe.latencies) > _RATE, _START_S, "the first decisions", worker)
            worker.kill()
            worker.wait()
            killed = perf_counter()
        say("killed; starting another")
        with bench.worker() as worker:
            # What the first had published just before it died may still be on its way to the probe.
            wait_until(
                lambda: probe.last_decision > killed + 1.0, _START_S, "the second worker's first decision", worker
            )
            seconds = probe.last_decision - killed
    return Recovery(round(seconds, 2), bench.settings.worker.session_timeout_s, named)
