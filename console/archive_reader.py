"""The archive for many readers at once: each has a connection for itself, which is opened again when it is old."""

from contextlib import contextmanager
from threading import BoundedSemaphore, Lock
from typing import TYPE_CHECKING

from adapters.extras import require_extra
from vedette.clock import SECOND, Clock
from vedette.errors import UnavailableError
from vedette.settings import ArchiveSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from archive.search import Archive

_AT_ONCE = 4
_WAIT_S = 10.0


class ArchiveReader:
    """A few connections to the archive.

    Args:
        settings: Where the archive is.
        clock: The clock.
        fresh_ms: Milliseconds after which a connection no longer shows what has arrived.
    """

    def __init__(self, settings: ArchiveSettings, clock: Clock, fresh_ms: int = 10 * SECOND) -> None:
        self._settings, self._clock, self._fresh_ms = settings, clock, fresh_ms
        self._lock, self._slots = Lock(), BoundedSemaphore(_AT_ONCE)
        self._idle: list[tuple[int, Archive]] = []

    @contextmanager
    def opened(self) -> "Iterator[Archive]":
        """Yield the archive for questions of one request.

        Raises:
            UnavailableError: There is no archive, its extra is not installed, or too many ask.
        """
        require_extra("archive", "the archive", "deltalake")
        if not self._slots.acquire(timeout=_WAIT_S):
            raise UnavailableError("too many questions are asked of the archive", remedy="ask again")
        try:
            opened_at, archive = self._take()
            try:
                yield archive
            except BaseException:
                archive.close()
                raise
            with self._lock:
                self._idle.append((opened_at, archive))
        finally:
            self._slots.release()

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for _, archive in self._idle:
                archive.close()
            self._idle.clear()

    def _take(self) -> "tuple[int, Archive]":
        from archive.search import Archive  # noqa: PLC0415, its extra may not be installed

        now = self._clock.now_ms()
        with self._lock:
            while self._idle:
                opened_at, archive = self._idle.pop()
                if now - opened_at < self._fresh_ms:
                    return opened_at, archive
                archive.close()
        return now, Archive(self._settings)
