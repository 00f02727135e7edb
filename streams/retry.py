"""Retries for Redis and the broker: attempts are repeated, or abandoned if the policy limits the wait of payments."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

import structlog

from streams.health import Attempt, Health, Step
from streams.watchdog import Watchdog
from vedette.errors import UnavailableError

_T = TypeVar("_T")
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_log = structlog.get_logger("vedette.worker")


class Stopped(Exception):  # noqa: N818 — not an error: the worker was asked to stop while it waited
    """The worker stops; unfinished batches will be repeated from the watermark."""


class OutOfPatienceError(Exception):
    """Redis has been unavailable for longer than the policy lets payments wait."""


class DegradedMode:
    """Deciding without history, after payments have waited for Redis for too long.

    Args:
        patience_s: Returns the seconds that payments wait under the policy in force.
        health: Reports the mode.
    """

    def __init__(self, patience_s: Callable[[], float], health: Health) -> None:
        self._patience_s = patience_s
        self._health = health

    @property
    def active(self) -> bool:
        """Whether payments are decided without history."""
        return self._health.without_history

    def begins(self, waited_s: float) -> bool:
        """Return whether payments are decided without history after this wait, and start to if so."""
        if not self.active and waited_s >= self._patience_s():
            self._health.without_history = True
            _log.warning("deciding without history until Redis is back", waited_s=round(waited_s, 1))
        return self.active

    def end(self) -> None:
        """End the mode: decide with history again."""
        self._health.without_history = False


class RetryLoop:
    """Repeats attempts while a part is unavailable. Nothing is read meanwhile, so nothing is lost.

    Args:
        health: Reports the awaited part.
        watchdog: Does not count waiting.
        degraded: Ends the wait for Redis according to the policy.
        stopping: Ends every wait when set.
    """

    def __init__(
        self, health: Health, watchdog: Watchdog, degraded: DegradedMode, stopping: threading.Event
    ) -> None:  # fmt: skip
        self._health = health
        self._watchdog = watchdog
        self._degraded = degraded
        self._stopping = stopping

    def __call__(self, step: Step, attempt: Attempt, work: Callable[[], _T]) -> _T:
        """Perform some work as soon as the parts it needs are available.

        Raises:
            OutOfPatienceError: The work needs state, and payments are decided without history from now on.
            Stopped: The worker was asked to stop meanwhile.
        """
        pause_s = _FIRST_PAUSE_S
        since = time.monotonic()
        while True:
            try:
                result = work()
            except UnavailableError as error:
                _log.warning("waiting", to=attempt, because=str(error), next_try_s=pause_s)
                self._health.waits(step, attempt)
                if attempt in (Attempt.LOAD, Attempt.WRITE) and self._degraded.begins(time.monotonic() - since):
                    self._health.proceeds(step)
                    raise OutOfPatienceError from error
                with self._watchdog.paused(step):
                    stopped = self._stopping.wait(pause_s)
                if stopped:
                    raise Stopped from error
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                self._health.proceeds(step)
                return result
