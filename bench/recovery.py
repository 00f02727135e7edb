"""Time from kill -9 of the worker to the first decision of its replacement."""

from dataclasses import dataclass
from time import perf_counter

from bench.environment import environment, wait_until
from bench.load_generator import LoadGenerator
from bench.measurement import Measurement, Setup

_RATE = 500
_START_S = 180.0


@dataclass(frozen=True)
class Recovery(Measurement):
    """Seconds without a decision; `named` says whether the worker had an instance name, and so needed no time-out."""

    seconds: float
    session_timeout_s: float
    named: bool


def measure(setup: Setup, *, named: bool) -> Recovery:
    """Kill a worker under a steady load and start another at once."""
    instance = "bench-worker" if named else ""
    with (
        environment(setup, instance=instance) as bench,
        LoadGenerator(bench, _RATE) as load,
    ):
        with bench.worker() as worker:
            setup.say("waiting for the worker")
            wait_until(lambda: len(load.latencies) > _RATE, _START_S, "the first decisions", worker)
            worker.kill()
            worker.wait()
            killed = perf_counter()
        setup.say("killed; starting another")
        with bench.worker() as worker:
            # The last decisions of the first worker may still be on their way to the load generator.
            wait_until(
                lambda: load.last_decision > killed + 1.0, _START_S, "the second worker's first decision", worker
            )
            seconds = load.last_decision - killed
    return Recovery(round(seconds, 2), bench.settings.worker.session_timeout_s, named)
