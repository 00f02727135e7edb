"""An aiokafka client that is a member of a group without fetching messages."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka.protocol.fetch import FetchRequest

Send = Callable[..., Awaitable[Any]]


def without_fetches(send: Send) -> Send:
    """Return the method by which a client sends requests, without fetches: they stay under way until cancelled.

    aiokafka cancels its fetches whenever it is assigned other partitions, and when it is closed.
    """

    async def send_others(node_id: int, request: Any, **options: Any) -> Any:
        if isinstance(request, FetchRequest):
            await asyncio.Event().wait()
        return await send(node_id, request, **options)

    return send_others
