"""HTTP/1.1 on a connection, with limits: uvicorn's protocol on llhttp waits and buffers without bounds by itself."""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from adapters.http_limits import security_headers

if TYPE_CHECKING:
    from collections import OrderedDict

_HEAD_BYTES = 16 * 1024
"""Maximum size of an incomplete head; HttpGate limits complete ones."""
_FRAMING_BYTES = 1024 * 1024
"""Maximum size of what surrounds the content of one body: sizes of chunks, their extensions, and trailers."""
_PIPELINED = 64
"""Maximum number of requests that wait for the answer to an earlier one on the same connection."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits of the connections of a server.

    Attributes:
        head_s: Time-out from the opening of a connection, or from the first byte of a further request, until the
            request line and headers have arrived, in seconds; also of a TLS handshake.
        write_s: Time-out for a client that does not read a response, in seconds.
        connections: Maximum number of connections. One more closes the connection that has been silent longest. As
            many again may be in a TLS handshake.
    """

    head_s: float = 5.0
    write_s: float = 10.0
    connections: int = 500


class _InvalidRequestError(Exception):
    """A request that llhttp accepts and HTTP does not; raised within its callbacks, it ends the connection."""


class BoundedProtocol(HttpToolsProtocol):
    """The protocol with time-outs, bounded buffers, and the checks of RFC 9112 that llhttp leaves to its user.

    HttpGate limits the time of bodies. Invalid HTTP is refused with the headers of every other response.
    """

    def __init__(
        self, *arguments: Any, limits: ConnectionLimits, silent: "OrderedDict[BoundedProtocol, None]", **named: Any
    ) -> None:
        super().__init__(*arguments, **named)
        self._limits, self._silent = limits, silent
        self._head: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._in_body = False
        self._surplus = 0
        """Number of bytes of the present head or body that are not content."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request; if there are too many connections, replace a silent one."""
        super().connection_made(transport)
        self._await_head()
        if len(self.connections) > self._limits.connections:
            next(iter(self._silent)).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._head_is_here()
        self._is_read()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Check whether a request is complete, or has begun."""
        if self.transport.is_closing():
            return
        self._surplus += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._surplus > (_FRAMING_BYTES if self._in_body else _HEAD_BYTES):
            self._refuse(
                *((400, "Too much around the body.") if self._in_body else (431, "The headers are too large."))
            )
        elif self._answering():
            self._head_is_here()
        elif self._head is None:
            self._await_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; trailers, which nothing here uses, are dropped."""
        if not self._in_body:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the request.

        Raises:
            _InvalidRequestError: It has no Host, or several, or a body in a form that this server does not decode; or
                too many requests wait on this connection.
        """
        hosts = [value for name, value in self.headers if name == b"host"]
        forms = [value.lower() for name, value in self.headers if name == b"transfer-encoding"]
        if len(hosts) > 1 or (not hosts and self.parser.get_http_version() == "1.1") or forms not in ([], [b"chunked"]):
            raise _InvalidRequestError
        if len(self.pipeline) >= _PIPELINED:
            raise _InvalidRequestError
        super().on_headers_complete()
        self._in_body, self._surplus = True, 0

    def on_body(self, body: bytes) -> None:
        """Take content."""
        self._surplus -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Wait for the next head."""
        self._in_body, self._surplus = False, 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Return to the queue of silent connections; uvicorn's keep-alive time runs."""
        super().on_response_complete()
        if not self.transport.is_closing() and self.cycle.response_complete:
            self._silent[self] = None

    def pause_writing(self) -> None:
        """Wait for a client to read the response, with a time-out."""
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(self._limits.write_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Record that the client reads."""
        self._is_read()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Refuse invalid HTTP."""
        self._refuse(400, msg)

    def _unsupported_upgrade_warning(self) -> None:
        """Answer in HTTP/1.1, and end the connection: the parser does not go on after a request to upgrade."""
        self.cycle.keep_alive = False

    def _refuse(self, status: int, reason: str) -> None:
        """Answer that a request is invalid, unless that could be taken for the answer to an earlier one, and close."""
        if not self._answering():
            headers = {
                **security_headers(secure=False), "Content-Type": "text/plain; charset=utf-8",
                "Content-Length": str(len(reason)), "Connection": "close",
            }  # fmt: skip
            lines = "".join(f"{name.lower()}: {value}\r\n" for name, value in headers.items())
            self.transport.write(STATUS_LINE[status] + f"{lines}\r\n{reason}".encode("ascii"))
        self.transport.close()

    def _is_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request
        return cycle is not None and not cycle.response_complete

    def _await_head(self) -> None:
        self._silent[self] = None
        self._head = self.loop.call_later(self._limits.head_s, self.transport.abort)

    def _head_is_here(self) -> None:
        self._silent.pop(self, None)
        if self._head is not None:
            self._head.cancel()
            self._head = None
