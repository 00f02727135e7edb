"""An open load of HTTP requests: each is due at its time, whether or not earlier ones are answered.

Its latency counts from when it was due, so a slow server neither slows the load down nor makes itself look better. One
connection has one request at a time. Written close to the socket: the load shares the cores with what it measures.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import cast

import uvloop

_CONNECTIONS = 256
_ANSWER_S = 10.0
_SWEEP_S = 1.0

OnAnswer = Callable[[int, bytes, float], None]
"""Called with status (0: there was no answer), body, and milliseconds since the request was due."""


class _Connection(asyncio.Protocol):
    """One connection, with at most one request under way."""

    def __init__(self, load: "_Load") -> None:
        self._load = load
        self._buffer = b""
        self.transport: asyncio.Transport | None = None
        self.due: float | None = None
        self.sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def ask(self, due: float, request: bytes) -> None:
        """Send a request that was due at this time."""
        assert self.transport is not None  # noqa: S101, it is connected
        self.due, self.sent = due, time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) >= length:
            self._buffer = body[length:]
            due, self.due = self.due, None
            self._load.answered(self, int(head[9:12]), body[:length], due)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.transport = None
        self._load.lost(self)


class _Load:
    def __init__(self, host: str, port: int, on_answer: OnAnswer) -> None:
        self._host, self._port, self._on_answer = host, port, on_answer
        self._idle: list[_Connection] = []
        self._all: set[_Connection] = set()
        self._connecting = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.waiting: deque[tuple[float, bytes]] = deque()

    @property
    def open(self) -> int:
        """Requests without an answer."""
        return len(self.waiting) + sum(connection.due is not None for connection in self._all)

    def ask(self, due: float, request: bytes) -> None:
        """Send a request as soon as a connection is free."""
        if self._idle:
            self._idle.pop().ask(due, request)
            return
        self.waiting.append((due, request))
        if len(self._all) + self._connecting < _CONNECTIONS:
            self._connecting += 1
            task = asyncio.get_running_loop().create_task(self._connect())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def answered(self, connection: _Connection, status: int, body: bytes, due: float | None) -> None:
        """Take an answer, and send the next request that waits."""
        if due is not None:
            self._on_answer(status, body, (time.perf_counter() - due) * 1000)
        self._next(connection)

    def lost(self, connection: _Connection) -> None:
        """Take the end of a connection; a request under way has no answer."""
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if connection.due is not None:
            self._on_answer(0, b"", (time.perf_counter() - connection.due) * 1000)

    def sweep(self) -> None:
        """End the requests that have waited too long."""
        before = time.perf_counter() - _ANSWER_S
        for connection in list(self._all):
            if connection.due is not None and connection.sent < before and connection.transport is not None:
                connection.transport.abort()

    def close(self) -> None:
        """Close all connections."""
        for connection in list(self._all):
            if connection.transport is not None:
                connection.transport.close()

    def _next(self, connection: _Connection) -> None:
        if self.waiting:
            connection.ask(*self.waiting.popleft())
        else:
            self._idle.append(connection)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(lambda: _Connection(self), self._host, self._port)
        except OSError:
            if self.waiting:
                due, _ = self.waiting.popleft()
                self._on_answer(0, b"", (time.perf_counter() - due) * 1000)
            return
        finally:
            self._connecting -= 1
        self._all.add(connection)
        self._next(connection)


def run(
    host: str, port: int, requests: Iterator[bytes], rate: int, seconds: float, on_answer: OnAnswer,
    every_second: Callable[[], None],
) -> int:  # fmt: skip
    """Send requests at a rate until the time is over and all are answered; return how many were sent.

    Args:
        host: Address of the server.
        port: Its port.
        requests: Whole requests.
        rate: Requests per second.
        seconds: For how long.
        on_answer: See OnAnswer.
        every_second: Called once a second.
    """

    async def send() -> int:
        load, started, sent, swept = _Load(host, port, on_answer), time.perf_counter(), 0, 0.0
        total = round(rate * seconds)
        while sent < total or load.open:
            now = time.perf_counter() - started
            while sent < total and sent / rate <= now:
                load.ask(started + sent / rate, next(requests))
                sent += 1
            if now - swept > _SWEEP_S:
                swept = now
                load.sweep()
                every_second()
            await asyncio.sleep(max(0.001, min(sent / rate - now, 0.1)) if sent < total else 0.05)
        load.close()
        return sent

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(send())
