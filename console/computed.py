"""Figures that take seconds or more: computed in a process of their own, one after the other, and kept for a while."""

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from threading import Lock
from typing import Any, Literal

import msgspec

from vedette.clock import MINUTE, Clock
from vedette.errors import VedetteError

_KEPT = 15 * MINUTE


class ComputedFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Figures as far as they are.

    Attributes:
        state: Whether anybody has asked for them, and how far they are.
        at: When they were asked for, milliseconds since 1970 UTC.
        result: The figures, once done.
        problem: Why there are none, once failed.
    """

    state: Literal["none", "running", "done", "failed"]
    at: int = 0
    result: Any = None
    problem: str = ""


class FigureJobs:
    """Figures by their name.

    Args:
        clock: The clock.
        kinds: By name, a function of a module and its first arguments; it gets the present moment as its last one.
    """

    def __init__(self, clock: Clock, kinds: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]) -> None:
        self._clock, self._kinds, self._lock = clock, kinds, Lock()
        self._pool: ProcessPoolExecutor | None = None
        self._asked: dict[str, tuple[int, Future[Any]]] = {}

    def ask(self, kind: str) -> None:
        """Have figures computed, unless that is going on.

        Raises:
            KeyError: There are none of this kind.
        """
        function, arguments = self._kinds[kind]
        with self._lock:
            if kind in self._asked and not self._asked[kind][1].done():
                return
            if self._pool is None:
                context = multiprocessing.get_context("spawn")
                self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=os.nice, initargs=(10,))
            now = self._clock.now_ms()
            self._asked[kind] = now, self._pool.submit(function, *arguments, now)

    def of(self, kind: str) -> ComputedFigures:
        """Return figures as far as they are.

        Raises:
            KeyError: There are none of this kind.
        """
        self._kinds[kind]
        with self._lock:
            at, future = self._asked.get(kind, (0, None))
        if future is None or at < self._clock.now_ms() - _KEPT:
            return ComputedFigures(state="none")
        if not future.done():
            return ComputedFigures(state="running", at=at)
        error = future.exception()
        if error is None:
            return ComputedFigures(state="done", at=at, result=future.result())
        problem = str(error) if isinstance(error, VedetteError) else type(error).__name__
        return ComputedFigures(state="failed", at=at, problem=problem)

    def close(self) -> None:
        """End the process."""
        with self._lock:
            if self._pool:
                for process in list((self._pool._processes or {}).values()):  # noqa: SLF001, there is no other way
                    process.terminate()
                self._pool.shutdown(cancel_futures=True)
