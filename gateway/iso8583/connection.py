"""One connection of a card switch: messages behind their length in two bytes, as many at a time as may wait."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

from vedette.errors import InputError
from vedette.settings_gateway import Iso8583Settings

Answer = Callable[[bytes, str, float], Awaitable[bytes | None]]
"""Answers a message of a peer that came at a time; raises InputError if it cannot be read at all."""

_LENGTH = 2
_UNREADABLE = 10
"""Unreadable messages one after another after which a connection is out of step."""
_WRITE_S = 10.0
"""Time-out for a switch that does not read its answers."""


class CardConnection(asyncio.Protocol):
    """The protocol of a connection. Answers come in the order in which they are ready.

    Args:
        settings: Limits.
        answer: Answers a message.
        opened: Called with the connection, once it is open; returns whether it may stay.
        closed: Called with the connection, once it is closed.
        log: A structlog logger.
    """

    def __init__(
        self, settings: Iso8583Settings, answer: Answer, opened: Callable[["CardConnection", str], bool],
        closed: Callable[["CardConnection"], None], log: Any,
    ) -> None:  # fmt: skip
        self._settings, self._answer, self._opened, self._closed, self._log = settings, answer, opened, closed, log
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._peer = ""
        self._buffer = bytearray()
        self._tasks: set[asyncio.Task[None]] = set()
        self._unreadable = 0
        self._paused = False
        self._half: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let a switch in that may connect."""
        self._transport = cast("asyncio.Transport", transport)
        self._peer = str((transport.get_extra_info("peername") or ("",))[0])
        if not self._opened(self, self._peer):
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection. Payments that have been accepted are decided all the same."""
        del exc
        self._transport = None
        self._whole()
        self._is_read()
        self._closed(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes, which may be a part of a message or several."""
        self._buffer += data
        self._take()

    def pause_writing(self) -> None:
        """Read no more while the switch does not read its answers, and end the connection if it never does."""
        if self._transport is not None and self._unread is None:
            self._pause()
            self._unread = self._loop.call_later(_WRITE_S, self._transport.abort)

    def resume_writing(self) -> None:
        """Go on."""
        self._is_read()
        self._take()

    async def drain(self) -> None:
        """Return when all messages that have come are answered."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def close(self) -> None:
        """Close the connection once what was written has been sent."""
        if self._transport is not None:
            self._transport.close()

    def _take(self) -> None:
        """Answer the messages in the buffer, as many as may wait."""
        while self._transport is not None and not self._transport.is_closing() and self._unread is None:
            if len(self._tasks) >= self._settings.in_flight:
                self._pause()  # a finished answer goes on here
                self._whole()
                return
            length = int.from_bytes(self._buffer[:_LENGTH], "big")
            if len(self._buffer) >= _LENGTH and length > self._settings.message_bytes:
                self._end(
                    f"a message of {length} bytes is announced, of which {self._settings.message_bytes} are the most"
                )
                return
            if len(self._buffer) < _LENGTH + length or not self._buffer:
                self._resume()
                self._wait_for_the_rest()
                return
            raw = bytes(self._buffer[_LENGTH : _LENGTH + length])
            del self._buffer[: _LENGTH + length]
            self._whole()
            if raw:  # a message of length 0 keeps the connection open
                task = self._loop.create_task(self._reply(raw, time.perf_counter()))
                self._tasks.add(task)
                task.add_done_callback(self._done)

    async def _reply(self, raw: bytes, started: float) -> None:
        try:
            answer = await self._answer(raw, self._peer, started)
        except InputError as error:
            self._unreadable += 1
            self._log.warning("message not read", peer=self._peer, reason=str(error))
            if self._unreadable >= _UNREADABLE:
                self._end(f"{self._unreadable} messages one after another cannot be read")
            return
        except Exception as error:  # noqa: BLE001, one message ends no connection; its data must not reach the log
            self._log.error("message not answered", peer=self._peer, error=type(error).__qualname__)
            return
        self._unreadable = 0
        if answer is not None and self._transport is not None and not self._transport.is_closing():
            self._transport.write(len(answer).to_bytes(_LENGTH, "big") + answer)

    def _done(self, task: "asyncio.Task[None]") -> None:
        full = len(self._tasks) >= self._settings.in_flight
        self._tasks.discard(task)
        if full:
            self._take()

    def _end(self, reason: str) -> None:
        self._log.warning("connection of a card switch ended", peer=self._peer, reason=reason)
        self._buffer.clear()
        if self._transport is not None:
            self._transport.abort()

    def _pause(self) -> None:
        if self._transport is not None and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._transport is not None and self._paused:
            self._paused = False
            self._transport.resume_reading()

    def _wait_for_the_rest(self) -> None:
        if self._buffer and self._half is None:
            self._half = self._loop.call_later(
                self._settings.message_s,
                self._end,
                f"the rest of a message did not come in {self._settings.message_s:g} s",
            )

    def _whole(self) -> None:
        if self._half is not None:
            self._half.cancel()
            self._half = None

    def _is_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
