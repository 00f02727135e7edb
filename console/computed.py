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
        kinds: By name, a function of a module and its first arguments; it gets what is asked for and
            the present moment as its last ones.
    """

    def __init__(self, clock: Clock, kinds: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]) -> None:
        self._clock, self._kinds, self._lock = clock, kinds, Lock()
        self._pool: ProcessPoolExecutor | None = None
        self._asked: dict[tuple[str, ...], tuple[int, Future[Any]]] = {}

    def ask(self, kind: str, *of: str) -> None:
        """Have figures computed, unless that is going on.

        Args:
            kind: Their name.
            of: What they are of; nothing for those of the whole deployment.

        Raises:
            KeyError: There are none of this kind.
        """
        function, arguments = self._kinds[kind]
        with self._lock:
            now = self._clock.now_ms()
            if (kind, *of) in self._asked and not self._asked[kind, *of][1].done():
                return
            self._asked = {key: one for key, one in self._asked.items() if one[0] >= now - _KEPT or not one[1].done()}
            if self._pool is None:
                context = multiprocessing.get_context("spawn")
                self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=os.nice, initargs=(10,))
            self._asked[kind, *of] = now, self._pool.submit(function, *arguments, *of, now)

    def of(self, kind: str, *of: str) -> ComputedFigures:
        """Return figures as far as they are.

        Raises:
            KeyError: There are none of this kind.
        """
        self._kinds[kind]
        with self._lock:
            at, future = self._asked.get((kind, *of), (0, None))
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
