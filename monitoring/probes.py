"""Probes that run at intervals; their latest results are the metrics of the monitor."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from threading import Event
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from vedette.clock import Clock
from vedette.errors import VedetteError

_SHORTEST_WAIT_S = 0.05


@dataclass(frozen=True, slots=True)
class Probe:
    """Something to look at.

    Attributes:
        name: Its name in metrics and logs.
        look: Returns what was found; raises VedetteError if it cannot be reached.
        every_s: Seconds between two looks.
    """

    name: str
    look: Callable[[], Iterable[Metric]]
    every_s: float


class Probes(Collector):
    """The probes of a process.

    A probe that fails leaves no old values behind: `vedette_probe_up` is 0 instead.

    Args:
        probes: The probes.
        clock: Clock of their times.
        log: A structlog logger.
    """

    def __init__(self, probes: Iterable[Probe], clock: Clock, log: Any) -> None:
        self._probes, self._clock, self._log = tuple(probes), clock, log
        self._found: dict[str, list[Metric]] = {}
        self._problems: dict[str, str] = {}
        self._next: dict[str, int] = {}

    @property
    def problems(self) -> dict[str, str]:
        """The probes that failed last time, with the reasons."""
        return dict(self._problems)

    def run(self, stop: Event) -> None:
        """Look at intervals until stopped."""
        while not stop.is_set():
            self.step()
            wait_ms = min(self._next.values(), default=0) - self._clock.now_ms()
            stop.wait(max(wait_ms / 1000, _SHORTEST_WAIT_S))

    def step(self) -> None:
        """Run the probes that are due."""
        for probe in self._probes:
            now = self._clock.now_ms()
            if now < self._next.get(probe.name, 0):
                continue
            self._next[probe.name] = now + round(1000 * probe.every_s)
            self._look(probe)

    def _look(self, probe: Probe) -> None:
        try:
            found = list(probe.look())
        except (VedetteError, OSError) as error:
            reason = str(error) if isinstance(error, VedetteError) else type(error).__name__
            if self._problems.get(probe.name) != reason:
                self._log.warning("probe failed", probe=probe.name, reason=reason)
            self._problems[probe.name] = reason
            self._found.pop(probe.name, None)
            return
        if self._problems.pop(probe.name, None):
            self._log.info("probe works again", probe=probe.name)
        self._found[probe.name] = found

    def collect(self) -> Iterator[Metric]:
        """Called by the registry."""
        up = GaugeMetricFamily("vedette_probe_up", "1 if a probe of the monitor reached its subject", labels=["probe"])
        for probe in self._probes:
            if probe.name in self._next:
                up.add_metric([probe.name], float(probe.name not in self._problems))
        yield up
        for found in tuple(self._found.values()):
            yield from found
