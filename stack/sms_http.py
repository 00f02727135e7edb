"""The HTTP side of the local SMS server: paths, authorisation, and errors in Twilio's format."""

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import Request, urlopen

import msgspec

API = "/2010-04-01"

_PATH = re.compile(API + r"/Accounts/(?P<account>[^/]+)/Messages(?:/(?P<sid>[^/]+))?\.json")


@dataclass(frozen=True, slots=True)
class SmsResponse:
    """A scripted answer to one POST.

    Args:
        status: HTTP status; 201 keeps the message and answers as usual.
        code: Twilio's error code.
        message: Twilio's error message.
        kept: The message is kept although the answer is an error or missing.
        hangs: No answer is sent before the client gives up.
        retry_after_s: Value of the Retry-After header, if not 0.
    """

    status: int = HTTPStatus.CREATED
    code: int = 0
    message: str = ""
    kept: bool = False
    hangs: bool = False
    retry_after_s: int = 0


_LENGTH = re.compile(r"[0-9]{1,9}")
_LONGEST_FORM = 64 * 1024
_TOO_LONG = SmsResponse(
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE, 20413, f"A form has a length of up to {_LONGEST_FORM} bytes"
)


class Messages(Protocol):
    """The store of messages behind the HTTP side."""

    def authorised(self, account: str, header: str) -> bool:
        """Return whether a request's account and Authorization header are valid."""
        ...

    def post(self, form: dict[str, str]) -> SmsResponse | dict[str, Any]:
        """Create a message."""
        ...

    def get(self, sid: str) -> SmsResponse | dict[str, Any]:
        """One message."""
        ...

    def list(self, query: dict[str, str]) -> SmsResponse | dict[str, Any]:
        """A page of messages."""
        ...


class SmsHttpServer(ThreadingHTTPServer):
    """Serves Messages over HTTP with a thread for each connection."""

    daemon_threads = True
    request_queue_size = 128  # connections waiting to be accepted: a sender opens dozens at once

    def __init__(self, address: tuple[str, int], sink: Messages) -> None:
        super().__init__(address, _Handler)
        self.sink = sink

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors: a client that gives up waiting is part of the script."""


class _Handler(BaseHTTPRequestHandler):
    server: SmsHttpServer
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # a response is sent in one piece
    disable_nagle_algorithm = True  # small responses are sent at once
    timeout = 10.0  # of each read of a request
    server_version, sys_version = "sms", ""

    def do_POST(self) -> None:
        """Create a message."""
        length = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not _LENGTH.fullmatch(length) or int(length) > _LONGEST_FORM:
            self.close_connection = True  # the body is not read
            self._say(_TOO_LONG, _TOO_LONG.status)
            return
        form = _first_values(self.rfile.read(int(length)).decode("utf-8", "replace"))
        if path := self._path():
            self._say(self.server.sink.post(form) if path["sid"] is None else missing(self.path), HTTPStatus.CREATED)

    def do_GET(self) -> None:
        """Show one message, or list them."""
        if path := self._path():
            sink, sid = self.server.sink, path["sid"]
            self._say(sink.get(sid) if sid else sink.list(_first_values(urlsplit(self.path).query)), HTTPStatus.OK)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse a request that has no method of these; by default that would be a failure of the server's, 501."""
        refused = code == HTTPStatus.NOT_IMPLEMENTED
        super().send_error(HTTPStatus.METHOD_NOT_ALLOWED if refused else code, message, explain)

    def _path(self) -> re.Match[str] | None:
        """Return the parts of the path, or None once the request has been refused."""
        path = _PATH.fullmatch(urlsplit(self.path).path)
        if path is None:
            self._say(missing(self.path), HTTPStatus.NOT_FOUND)
        elif not self.server.sink.authorised(path["account"], self.headers.get("Authorization", "")):
            self._say(SmsResponse(HTTPStatus.UNAUTHORIZED, 20003, "Authenticate"), HTTPStatus.UNAUTHORIZED)
            return None
        return path

    def _say(self, answer: SmsResponse | dict[str, Any], status: int) -> None:
        if not isinstance(answer, SmsResponse):
            self._write(status, answer)
        elif answer.hangs:
            self.close_connection = True
        else:
            more_info = f"https://www.twilio.com/docs/errors/{answer.code}"
            body = {"code": answer.code, "message": answer.message, "more_info": more_info, "status": answer.status}
            self._write(answer.status, body, answer.retry_after_s)

    def _write(self, status: int, body: dict[str, Any], retry_after_s: int = 0) -> None:
        encoded = msgspec.json.encode(body)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(encoded)))
        if retry_after_s:
            self.send_header("Retry-After", str(retry_after_s))
        self.end_headers()
        self.wfile.write(encoded)

    def log_message(self, *_: Any) -> None:
        """Log nothing: the callback reports to the owner of the sink."""


def missing(path: str) -> SmsResponse:
    """Return Twilio's answer for a missing resource."""
    return SmsResponse(HTTPStatus.NOT_FOUND, 20404, f"The requested resource {path} was not found")


def _first_values(encoded: str) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(encoded).items()}


def post_signed(url: str, form: dict[str, str], auth_token: str) -> int:
    """Post a form with the signature of Twilio's webhooks, and return the HTTP status.

    Source: https://www.twilio.com/docs/usage/security#validating-requests
    """
    text = url + "".join(f"{name}{form[name]}" for name in sorted(form))
    mac = hmac.new(auth_token.encode(), text.encode(), hashlib.sha1).digest()
    headers = {"X-Twilio-Signature": base64.b64encode(mac).decode()}
    request = Request(url, urlencode(form).encode(), headers)  # noqa: S310, the owner of the sink names the address
    try:
        with urlopen(request, timeout=10) as answer:  # noqa: S310
            return int(answer.status)
    except HTTPError as error:
        error.close()
        return error.code
