"""Server-sent events with limits: per session, in total, and on the duration of each stream."""

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import HTTPException
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

Part = tuple[str, str]
"""The state of a part of a page in a few characters, and the part as HTML."""

_RETRY_MS = 500
_PING_S = 15


class _Slot:
    """Permission of one stream to continue."""

    def __init__(self, session: str, now: float) -> None:
        self.session = session
        self.since = now
        self.taken_away = False


class EventStreams:
    """The streams of one process.

    A session that exceeds its limit loses its oldest stream, because the tab in front must continue. A new one is
    refused with 503 when all slots are in use, or when that oldest has just begun; the page then reloads itself
    instead.

    Args:
        of_session: Maximum number of streams of one session.
        in_all: Maximum number of streams.
        life_s: Seconds after which the browser reconnects, and is checked again.
        look_s: Seconds between two reads of the state that a stream shows.
        settled_s: Minimum lifetime of a stream in seconds, so that a session cannot open one after another.
    """

    def __init__(
        self, *, of_session: int = 4, in_all: int = 200, life_s: float = 60.0, look_s: float = 0.25,
        settled_s: float = 2.0,
    ) -> None:  # fmt: skip
        self._settled_s = settled_s
        self._of_session, self._in_all = of_session, in_all
        self._life_s, self._look_s = life_s, look_s
        self._lock = threading.Lock()
        self._open: OrderedDict[_Slot, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def follow(self, session: str, read: Callable[[], Part | None], seen: str) -> EventSourceResponse:
        """Return a stream that sends a part of a page whenever its state changes.

        Args:
            session: Identifier of the session.
            read: Returns the current part, or None once access has ended; called in a thread.
            seen: The state that the browser shows.

        Raises:
            HTTPException: 503, all streams are in use.
        """
        return _BoundedStream(self, self._take(session), read, seen)

    def _take(self, session: str) -> _Slot:
        with self._lock:
            now = time.monotonic()
            own = [slot for slot in self._open if slot.session == session]
            full = len(own) >= self._of_session
            if (full and now - own[0].since < self._settled_s) or (not full and len(self._open) >= self._in_all):
                raise HTTPException(503, "too many pages are being followed", {"Retry-After": "5"})
            if full:
                own[0].taken_away = True
                del self._open[own[0]]
            slot = _Slot(session, now)
            self._open[slot] = None
            return slot

    def release(self, slot: _Slot) -> None:
        """Record that a stream has ended."""
        with self._lock:
            self._open.pop(slot, None)

    async def changes(self, slot: _Slot, read: Callable[[], Part | None], seen: str) -> AsyncIterator[ServerSentEvent]:
        """Yield the events of one stream."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._life_s
        while loop.time() < until and not slot.taken_away:
            part = await run_in_threadpool(read)
            if part is None:
                return
            state, html = part
            if state != seen:
                seen = state
                yield ServerSentEvent(data=html, id=state, retry=_RETRY_MS)
            await asyncio.sleep(self._look_s)


class _BoundedStream(EventSourceResponse):
    """A response that releases its slot however it ends."""

    def __init__(self, streams: EventStreams, slot: _Slot, read: Callable[[], Part | None], seen: str) -> None:
        super().__init__(streams.changes(slot, read, seen), ping=_PING_S)
        self._streams, self._slot = streams, slot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Send the response."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.release(self._slot)
