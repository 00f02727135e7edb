"""Checks of every request before its processing, and headers of every response, for all HTTP servers.

`HttpGate` is the outermost ASGI middleware. It reads the body itself, up to a limit and within a time, so parsers and
guards behind it only get a complete, small body; it refuses posts from pages of other sites; it adds the security
headers to every response; and it turns an unexpected exception into a 500 that reveals nothing of the request.
"""

import asyncio
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import msgspec
import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"

# Only the server's files, no inline script or style, no embedding in frames (OWASP ASVS 5.0, V3.4).
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HSTS = "max-age=63072000; includeSubDomains"

_UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_DRAINED_BYTES = 1024 * 1024
"""Number of bytes of an oversized body that are read and discarded: most clients read the response only afterwards."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Limits of a server.

    Attributes:
        body_bytes: Maximum size of a body.
        larger: Larger maximum by prefix of the path.
        large_bytes: What all bodies larger than `body_bytes` may take together: they are read before anybody has said
            who they are.
        body_s: Time-out for the arrival of a body, in seconds.
        target_bytes: Maximum length of a path with its query.
        head_bytes: Maximum size of the names and values of all headers.
        media_types: Media types of a body. Multipart is left out on purpose: its parser writes files.
    """

    body_bytes: int = 64 * 1024
    larger: Mapping[str, int] = field(default_factory=dict)
    large_bytes: int = 128 * 1024 * 1024
    body_s: float = 10.0
    target_bytes: int = 4096
    head_bytes: int = 16 * 1024
    media_types: frozenset[str] = frozenset({JSON, FORM})

    def body_of(self, path: str) -> int:
        """Return the maximum size of a body for a path."""
        return max((size for start, size in self.larger.items() if path.startswith(start)), default=self.body_bytes)


def security_headers(*, secure: bool, content_policy: str = CONTENT_POLICY) -> dict[str, str]:
    """Return the headers of every response.

    Args:
        secure: Whether the server is reached only by HTTPS.
        content_policy: The Content-Security-Policy.
    """
    headers = {
        "Content-Security-Policy": content_policy,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": (
            "camera=(), geolocation=(), microphone=(), "
            "publickey-credentials-get=(self), publickey-credentials-create=(self)"
        ),
        # With `no-referrer`, browsers would also send `Origin: null` with forms of this site.
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
    return headers | {"Strict-Transport-Security": _HSTS} if secure else headers


class RequestRefusedError(Exception):
    """The gate refuses a request; the response has the status and the detail."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


class _Held:
    """What one request has been granted of HttpLimits.large_bytes."""

    bytes: int = 0


class HttpGate:
    """The outermost middleware of every server.

    Args:
        app: The protected app.
        public_url: Public URL of the server: with HTTPS, browsers are told to use HTTPS, and its origin is the only one
            whose pages may post. Empty: origins are not checked.
        limits: Limits of requests.
        content_policy: The Content-Security-Policy of every response.
        cached: Prefixes of paths whose responses may be cached; all others are `no-store`.
        problems: Whether a refusal is a problem document (RFC 9457) instead of `{"detail": …}`.
        log: A structlog logger for exceptions.
    """

    def __init__(
        self, app: ASGIApp, *, public_url: str = "", limits: HttpLimits | None = None,
        content_policy: str = CONTENT_POLICY, cached: Iterable[str] = ("/static/",), problems: bool = False,
        log: Any = None,
    ) -> None:  # fmt: skip
        self._app = app
        self._limits = limits or HttpLimits()
        url = urlsplit(public_url)
        self._origin = f"{url.scheme}://{url.netloc}".lower() if public_url else ""
        headers = security_headers(secure=url.scheme == "https", content_policy=content_policy)
        self._headers = {name.lower().encode(): value.encode() for name, value in headers.items()}
        self._cached = tuple(cached)
        self._large = 0
        self._refuse = _problem if problems else _plain
        self._log = log or structlog.get_logger("vedette.http")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request. A WebSocket is refused, as no server uses them."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, held = False, _Held()

        async def protected(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message = {**message, "headers": self._with_headers(scope["path"], message.get("headers", ()))}
            await send(message)

        try:
            body = await self._taken(scope, receive, held)
            if body is not None:
                await self._app(scope, _again(body, receive), protected)
        except RequestRefusedError as refused:
            await self._refuse(protected, refused.status, refused.detail)
        except Exception as error:  # noqa: BLE001, the caller learns nothing from it
            # Neither the message nor a local variable is logged: both may contain data of the caller, a code or a key.
            self._log.error("request failed", error=type(error).__qualname__, where=_frames(error))
            if not started:
                await self._refuse(protected, 500, "internal error")
        finally:
            self._large -= held.bytes

    async def _taken(self, scope: Scope, receive: Receive, held: "_Held") -> bytes | None:
        """Return the body of an accepted request; None if the caller has disconnected.

        Raises:
            RequestRefusedError: The request is refused.
        """
        headers = dict(scope["headers"])
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > self._limits.target_bytes:
            raise RequestRefusedError(414, "the address is too long")
        if sum(len(name) + len(value) for name, value in scope["headers"]) > self._limits.head_bytes:
            raise RequestRefusedError(431, "the headers are too large")
        if b"transfer-encoding" in headers and b"content-length" in headers:
            # A proxy in front may have used the other one, and take the rest for a request (RFC 9112, 6.1).
            raise RequestRefusedError(400, "a body has one length")
        limit = self._limits.body_of(scope["path"])
        asked_first = headers.get(b"expect", b"").lower() == b"100-continue"
        if _announced(headers) > limit + (0 if asked_first else _DRAINED_BYTES):
            raise _too_large(limit)  # without reading any of it
        if scope["method"] in _UNSAFE and self._foreign(headers):
            raise RequestRefusedError(403, "another site's page may not send this")
        body = await self._body(receive, limit, held)
        media_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")
        if body and media_type not in self._limits.media_types:
            raise RequestRefusedError(415, f"a body is one of {', '.join(sorted(self._limits.media_types))}")
        return body

    async def _body(self, receive: Receive, limit: int, held: "_Held") -> bytes | None:
        kept, length, more = bytearray(), 0, True
        try:
            async with asyncio.timeout(self._limits.body_s):
                while more and length <= limit + _DRAINED_BYTES:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    part, more = message.get("body", b""), message.get("more_body", False)
                    length += len(part)
                    if length > self._limits.body_bytes and limit > self._limits.body_bytes and not held.bytes:
                        if self._large + limit > self._limits.large_bytes:
                            raise RequestRefusedError(503, "too many large bodies at once; send it again later")
                        held.bytes = limit
                        self._large += limit
                    if length <= limit:
                        kept += part
                    else:
                        kept.clear()
        except TimeoutError as error:
            raise RequestRefusedError(408, f"a body must arrive within {self._limits.body_s:g} s") from error
        if length > limit:
            raise _too_large(limit)
        return bytes(kept)

    def _foreign(self, headers: Mapping[bytes, bytes]) -> bool:
        """Return whether a browser reports that a page of another site sends this. Programs do not report it."""
        if not self._origin:
            return False
        site = headers.get(b"sec-fetch-site", b"").decode("latin-1").lower()
        origin = headers.get(b"origin", b"").decode("latin-1").lower()
        if site in ("cross-site", "same-site") or origin not in ("", "null", self._origin):
            return True
        return origin == "null" and site != "same-origin"

    def _with_headers(self, path: str, given: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        defaults = dict(self._headers)
        if not path.startswith(self._cached):
            defaults[b"cache-control"] = b"no-store"
        return [(name, value) for name, value in given if name.lower() not in defaults] + list(defaults.items())


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that yields the body that was read, and then further messages."""
    waiting = [body]

    async def receive_again() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return receive_again


async def _plain(send: Send, status: int, detail: str) -> None:
    await _short(send, status, msgspec.json.encode({"detail": detail}), b"application/json")


async def _problem(send: Send, status: int, detail: str) -> None:
    problem = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    await _short(send, status, msgspec.json.encode(problem), b"application/problem+json")


async def _short(send: Send, status: int, content: bytes, media_type: bytes) -> None:
    """Send a short response and close the connection: the rest of the request is not read."""
    headers = [(b"content-type", media_type), (b"content-length", str(len(content)).encode())]
    if status != HTTPStatus.FORBIDDEN:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def _too_large(limit: int) -> RequestRefusedError:
    return RequestRefusedError(413, f"a body has at most {limit} bytes here")


def _announced(headers: Mapping[bytes, bytes]) -> int:
    length = headers.get(b"content-length", b"0")
    return int(length) if length.isdigit() else 0


def _frames(error: BaseException) -> list[str]:
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
