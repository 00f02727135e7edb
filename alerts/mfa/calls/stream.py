"""A screen that follows its call check: server-sent events with the part of the page that has changed."""

import asyncio
from collections.abc import AsyncIterator, Callable

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

Part = tuple[str, str]
"""What state a part of a page shows, in a few characters, and the part itself as HTML."""

_LOOK_S = 0.25
_LIFE_S = 60.0
"""Then the browser connects again, and whether it may is asked anew."""

_RETRY_MS = 500
_PING_S = 15


def follow(read: Callable[[], Part | None], seen: str) -> EventSourceResponse:
    """A stream that sends a part of a page whenever its state is another.

    Redis is looked at four times a second for each screen: a read of a tenth of a millisecond, which needs no
    connection of its own, and nothing is missed while one is lost.

    Args:
        read: Gives the part as it is now; None ends the stream.
        seen: The state that the browser shows.
    """
    return EventSourceResponse(_changes(read, seen), ping=_PING_S)


async def _changes(read: Callable[[], Part | None], seen: str) -> AsyncIterator[ServerSentEvent]:
    loop = asyncio.get_running_loop()
    until = loop.time() + _LIFE_S
    while loop.time() < until:
        part = await run_in_threadpool(read)
        if part is None:
            return
        state, html = part
        if state != seen:
            seen = state
            yield ServerSentEvent(data=html, id=state, retry=_RETRY_MS)
        await asyncio.sleep(_LOOK_S)
