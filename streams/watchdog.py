"""Ends a worker that no longer makes progress, so that another one acquires its partitions."""

import math
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

import structlog

from streams.health import Step
from streams.partition import Partition

EXIT_STUCK = 75
"""Exit code of a process that was stuck."""

_LOOK_S = 1.0
_log = structlog.get_logger("vedette.worker")


class Watchdog:
    """Checks that every step and the event loop make progress. Waiting between two attempts does not count.

    Args:
        limit_s: Maximum time for a step, for silence of the event loop, and for a lost partition to stay assigned.
        owned: Returns the partitions that the worker owns.
        stopping: Set when the worker stops.
    """

    def __init__(self, limit_s: float, owned: Callable[[], Collection[Partition]], stopping: threading.Event) -> None:
        self._limit_s = limit_s
        self._owned = owned
        self._stopping = stopping
        self._since: dict[Step, float] = {}
        self._loop_seen = math.inf  # not before it runs: joining the group takes as long as the broker needs

    @property
    def busy(self) -> frozenset[Step]:
        """The steps in progress."""
        return frozenset(self._since)

    @contextmanager
    def step(self, step: Step) -> Iterator[None]:
        """Time a step."""
        self._since[step] = time.monotonic()
        try:
            yield
        finally:
            self._since.pop(step, None)

    @contextmanager
    def paused(self, step: Step) -> Iterator[None]:
        """Exclude a wait from the time of a step."""
        self._since.pop(step, None)
        try:
            yield
        finally:
            self._since[step] = time.monotonic()

    def beat(self) -> None:
        """Record that the event loop is running."""
        self._loop_seen = time.monotonic()

    def stuck(self, now: float) -> str | None:
        """Return the stuck part, if any.

        Args:
            now: Monotonic time in seconds.
        """
        for step, since in list(self._since.items()):
            if now - since > self._limit_s:
                return step
        for partition in list(self._owned()):
            if partition.lost_since and now - partition.lost_since > self._limit_s:
                return f"partition {partition.number}: another worker has claimed it, but it was not reassigned"
        return "event loop" if now - self._loop_seen > self._limit_s else None

    def start(self) -> None:
        """Check in a separate thread, and end the process with EXIT_STUCK if something is stuck."""
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def _watch(self) -> None:
        while not self._stopping.wait(_LOOK_S):
            if stuck := self.stuck(time.monotonic()):
                _log.critical("stuck; ending so that another worker takes over", step=stuck, s=self._limit_s)
                os._exit(EXIT_STUCK)
