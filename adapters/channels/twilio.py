"""SMS and WhatsApp through Twilio's REST API, with the official client.

The client makes the requests; forms and responses are handled here. The client's classes for them are hundreds of
modules, and creating its objects takes longer than the request.
"""

import asyncio
import json
import logging
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode, urlsplit

import certifi
import msgspec
import urllib3
from twilio.http import HttpClient  # type: ignore[import-untyped]
from twilio.http.response import Response  # type: ignore[import-untyped]
from twilio.rest import Client  # type: ignore[import-untyped]
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from adapters.channels.channel import (
    ChannelDown,
    DoubtfulMessage,
    Permanent,
    Retry,
    SendOutcome,
    Sent,
    Unknown,
    wait_ms,
)
from adapters.channels.message import Message
from adapters.channels.target import ChannelName, Target
from vedette.clock import MINUTE
from vedette.errors import UnavailableError
from vedette.settings import TwilioSettings

_ORIGIN = "https://api.twilio.com"
_PAGE = 1000  # the maximum of Twilio
_SLACK_MS = 5 * MINUTE  # maximum lag of Twilio's clock

# Errors of the account or its sender, which affect every message (https://www.twilio.com/docs/api/errors).
_LOGIN = frozenset({20003, 20005, 20404})
_SENDER = frozenset({21212, 21603, 21659, 21660, 21703, 21705, 63007})


class _Created(msgspec.Struct, frozen=True):
    """Fields of Twilio's response to an accepted message."""

    sid: str | None = None


class _Refused(msgspec.Struct, frozen=True):
    """Fields of Twilio's response to a refused message: its code is more specific than HTTP's."""

    code: int | None = None


class _Listed(msgspec.Struct, frozen=True):
    """Fields of a message in Twilio's list."""

    sid: str
    body: str | None
    date_created: str | None


class _Page(msgspec.Struct, frozen=True):
    """A page of the list, the newest first, with the address of the next one."""

    messages: list[_Listed]
    next_page_uri: str | None


_CREATED = msgspec.json.Decoder(_Created)
_REFUSED = msgspec.json.Decoder(_Refused)
_PAGES = msgspec.json.Decoder(_Page)


class _Http(HttpClient):  # type: ignore[misc]
    """HTTP for Twilio's client: thread-safe, with a time-out, without proxies and logins of the environment.

    Twilio's HTTP client takes twice the processor time per request, and logs phone numbers.

    Args:
        timeout_s: Time-out for connecting, and for every wait for bytes.
        base_url: Scheme, host and path prefix to use instead of Twilio's; empty keeps Twilio's.
        parallel: Number of kept connections.
    """

    def __init__(self, *, timeout_s: float, base_url: str, parallel: int) -> None:
        super().__init__(logging.getLogger(__name__), is_async=False, timeout=timeout_s)
        self._base = base_url.rstrip("/")
        self._own = threading.local()
        self._pool = urllib3.PoolManager(maxsize=parallel, retries=False, timeout=timeout_s, ca_certs=certifi.where())

    @property
    def retry_after_ms(self) -> int:
        """Wait requested by the last response in this thread."""
        return int(getattr(self._own, "retry_after_ms", 0))

    def request(
        self, method: str, url: str, params: Mapping[str, Any] | None = None, data: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None, auth: tuple[str, str] | None = None, *_: Any, **__: Any,
    ) -> Response:  # fmt: skip
        """Make one request, and store the wait that a 429 requests."""
        if self._base:
            parts = urlsplit(url)
            url = f"{self._base}{parts.path}{'?' if parts.query else ''}{parts.query}"
        sent = dict(headers or {}) | (urllib3.make_headers(basic_auth=":".join(auth)) if auth else {})
        if asked := {name: value for name, value in (params or {}).items() if value is not None}:
            url += f"?{urlencode(asked)}"
        self._own.retry_after_ms = 0
        answer = self._pool.request(method, url, body=urlencode(data) if data else None, headers=sent, redirect=False)
        self._own.retry_after_ms = wait_ms(answer.headers.get("Retry-After", ""))
        return Response(answer.status, answer.data.decode(), answer.headers)

    def close(self) -> None:
        """Close the kept connections."""
        self._pool.clear()


class TwilioChannel:
    """Messages as SMS or WhatsApp through one Twilio account.

    WhatsApp lets a business begin a conversation only with a template it has approved; the message becomes its first
    variable.

    Args:
        name: sms or whatsapp.
        account: The Twilio account.
        sender: Sender number, or the id of a messaging service.
        parallel: Maximum number of messages sent at the same time.
        content: Id of the approved template; empty sends plain text.
        receipts_to: URL for delivery receipts; empty asks for none.
    """

    def __init__(
        self, name: ChannelName, account: TwilioSettings, sender: str, *, parallel: int, content: str = "",
        receipts_to: str = "",
    ) -> None:  # fmt: skip
        self._name = name
        self._prefix = "whatsapp:" if name == "whatsapp" else ""
        self._http = _Http(timeout_s=account.timeout_s, base_url=account.base_url, parallel=parallel)
        # The client takes region and edge from os.environ unless it is given another mapping that is not empty.
        environment = {"TWILIO_EDGE": ""}
        token = account.auth_token.value if account.auth_token else ""
        self._client = Client(account.account_sid, token, http_client=self._http, environment=environment)
        self._place = urlsplit(account.base_url or _ORIGIN).netloc
        self._path = f"/2010-04-01/Accounts/{account.account_sid}/Messages.json"
        service = sender.startswith("MG")
        self._fixed = {"MessagingServiceSid": sender} if service else {"From": self._prefix + sender}
        if receipts_to:
            self._fixed["StatusCallback"] = receipts_to
        self._content = content
        self._threads = ThreadPoolExecutor(parallel, f"twilio-{name}")

    @property
    def name(self) -> ChannelName:
        """The channel's name."""
        return self._name

    async def send(self, message: Message, target: Target) -> SendOutcome:
        """Pass one message to Twilio.

        429 was not processed and may be sent again; a refused login or sender means that the channel is down; any
        other 4xx is permanent; after a 5xx or a time-out the message may have been sent
        (https://www.twilio.com/docs/api/errors/20429).
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._send, message, target)

    async def find(self, doubtful: Sequence[DoubtfulMessage]) -> dict[str, Sent]:
        """Return Twilio's copies, recognised by recipient, date and the reference in the body.

        Raises:
            UnavailableError: Twilio did not answer.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._find, doubtful)

    async def close(self) -> None:
        """Close the kept connections."""
        self.shutdown()

    def shutdown(self) -> None:
        """Send a message without an event loop; see `send`."""
        self._threads.shutdown()
        self._http.close()

    def _send(self, message: Message, target: Target) -> SendOutcome:
        said = {"Body": message.text}
        if self._content:
            said = {"ContentSid": self._content, "ContentVariables": json.dumps({"1": message.text})}
        form = {"To": self._prefix + target.to.value} | said | self._fixed
        try:
            answer = self._client.request("POST", _ORIGIN + self._path, data=form)
            return self._outcome_of(answer.status_code, answer.text)
        except HTTPError as error:
            code = type(error).__name__
            if isinstance(error, NewConnectionError | ConnectTimeoutError):  # the request cannot have been read
                reason = f"{self._place} cannot be reached ({code})"
                return ChannelDown(code, reason, "check the network, and [twilio] base_url")
            return Unknown(code=code, reason="no answer from Twilio")
        except ValueError as error:  # msgspec's errors are ValueErrors
            # An unreadable response leaves the outcome of the message unknown.
            return Unknown(code=type(error).__name__, reason="Twilio's answer could not be read")

    def _outcome_of(self, status: int, answer: str) -> SendOutcome:
        if 200 <= status < 300:
            sid = _CREATED.decode(answer).sid
            return Sent(sid) if sid else Unknown(code="no sid", reason="Twilio's answer names no message")
        try:
            number = _REFUSED.decode(answer).code
        except ValueError:  # a page of a server between here and Twilio
            number = None
        code = str(number or status)
        reason = f"Twilio answered {status}, error {code}"  # its message may contain the number
        if number in _LOGIN or status == HTTPStatus.UNAUTHORIZED:
            remedy = "check [twilio] account_sid and auth_token, and the account"
            return ChannelDown(code, f"{self._place} refused the login: {reason}", remedy)
        if number in _SENDER:
            return ChannelDown(code, f"{self._place} refused the sender: {reason}", "check the sender's number")
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            return Retry(code=code, reason=reason, after_ms=self._http.retry_after_ms)
        if status >= 500:
            return Unknown(code=code, reason=reason)
        return Permanent(code=code, reason=reason)

    def _find(self, doubtful: Sequence[DoubtfulMessage]) -> dict[str, Sent]:
        asked: defaultdict[str, list[DoubtfulMessage]] = defaultdict(list)
        for one in doubtful:
            asked[one.target.to.value].append(one)
        found: dict[str, Sent] = {}
        try:
            for number, asked_of in asked.items():
                self._search(self._prefix + number, asked_of, found)
        except (HTTPError, ValueError) as error:
            raise UnavailableError(f"Twilio did not list its messages ({type(error).__name__})") from error
        return found

    def _search(self, number: str, doubtful: list[DoubtfulMessage], found: dict[str, Sent]) -> None:
        """Read a number's messages from the newest back to before the first of these was handed over.

        The list is not filtered by date: a message that is still queued has no date of sending and would be missing.
        """
        wanted = {one.message.reference for one in doubtful}
        earliest = datetime.fromtimestamp((min(q.begun_at for q in doubtful) - _SLACK_MS) / 1000, UTC)
        uri: str | None = f"{self._path}?{urlencode({'To': number, 'PageSize': _PAGE})}"
        while uri and wanted:
            answer = self._client.request("GET", _ORIGIN + uri)
            if answer.status_code != HTTPStatus.OK:
                raise UnavailableError(f"Twilio did not list its messages, and answered {answer.status_code}")
            page = _PAGES.decode(answer.text)
            for listed in page.messages:
                for reference in [each for each in wanted if each in (listed.body or "")]:
                    found[reference] = Sent(provider_id=listed.sid)
                    wanted.discard(reference)
            oldest = page.messages[-1].date_created if page.messages else None
            uri = None if oldest and parsedate_to_datetime(oldest) < earliest else page.next_page_uri
