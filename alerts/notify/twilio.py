"""SMS and WhatsApp through Twilio's REST API, with the official client.

The client makes the requests; forms and answers are plain here. Its classes for them are hundreds of modules, of which
one resource is used, and its objects cost more than the request.
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

from alerts.incidents.routing import ChannelName, Target
from alerts.notify.channel import Outcome, Permanent, Question, Retry, Sent, Unknown
from alerts.notify.message import Message
from vedette.clock import MINUTE
from vedette.errors import UnavailableError
from vedette.settings import NotifySettings

_ORIGIN = "https://api.twilio.com"
_PAGE = 1000  # the largest that Twilio gives
_SLACK_MS = 5 * MINUTE  # how far Twilio's clock may be behind ours


class _Created(msgspec.Struct, frozen=True):
    """What is read of Twilio's answer to a message that it took."""

    sid: str | None = None


class _Refused(msgspec.Struct, frozen=True):
    """What is read of an answer that says why not: Twilio's own code, which is finer than HTTP's."""

    code: int | None = None


class _Listed(msgspec.Struct, frozen=True):
    """What is read of a message in Twilio's list."""

    sid: str
    body: str | None
    date_created: str | None


class _Page(msgspec.Struct, frozen=True):
    """A page of the list, the newest first, and where the next one is."""

    messages: list[_Listed]
    next_page_uri: str | None


_CREATED = msgspec.json.Decoder(_Created)
_REFUSED = msgspec.json.Decoder(_Refused)
_PAGES = msgspec.json.Decoder(_Page)


class _Http(HttpClient):  # type: ignore[misc]
    """HTTP for Twilio's client: for many threads, with a time-out, without proxies and logins of the environment.

    Twilio's own client costs twice the time of the processor for a request, and logs phone numbers.

    Args:
        timeout_s: For connecting, and for every wait for bytes.
        base_url: Scheme, host and path prefix to use instead of Twilio's; empty keeps Twilio's.
        parallel: How many connections are kept.
    """

    def __init__(self, *, timeout_s: float, base_url: str, parallel: int) -> None:
        super().__init__(logging.getLogger(__name__), is_async=False, timeout=timeout_s)
        self._base = base_url.rstrip("/")
        self._own = threading.local()
        self._pool = urllib3.PoolManager(maxsize=parallel, retries=False, timeout=timeout_s, ca_certs=certifi.where())

    @property
    def retry_after_ms(self) -> int:
        """How long the last answer in this thread asked to wait."""
        return int(getattr(self._own, "retry_after_ms", 0))

    def request(
        self, method: str, url: str, params: Mapping[str, Any] | None = None, data: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None, auth: tuple[str, str] | None = None, *_: Any, **__: Any,
    ) -> Response:  # fmt: skip
        """One request; remembers how long a 429 asks to wait."""
        if self._base:
            parts = urlsplit(url)
            url = f"{self._base}{parts.path}{'?' if parts.query else ''}{parts.query}"
        sent = dict(headers or {}) | (urllib3.make_headers(basic_auth=":".join(auth)) if auth else {})
        if asked := {name: value for name, value in (params or {}).items() if value is not None}:
            url += f"?{urlencode(asked)}"
        self._own.retry_after_ms = 0
        answer = self._pool.request(method, url, body=urlencode(data) if data else None, headers=sent, redirect=False)
        after = answer.headers.get("Retry-After", "")
        self._own.retry_after_ms = 1000 * int(after) if after.isdigit() else 0
        return Response(answer.status, answer.data.decode(), answer.headers)

    def close(self) -> None:
        """Close the kept connections."""
        self._pool.clear()


class TwilioChannel:
    """Messages as SMS or WhatsApp through one Twilio account.

    WhatsApp lets a business begin a conversation only with a template it has approved: `whatsapp_content` is that
    template's id, and the message becomes its first variable.

    Args:
        name: sms or whatsapp.
        settings: The account, the senders and where delivery receipts go.
        parallel: How many messages are under way at once.
    """

    def __init__(self, name: ChannelName, settings: NotifySettings, parallel: int) -> None:
        self._name = name
        self._prefix = "whatsapp:" if name == "whatsapp" else ""
        self._http = _Http(timeout_s=settings.timeout_s, base_url=settings.twilio_base_url, parallel=parallel)
        # The client takes region and edge from os.environ unless it is given another mapping that is not empty.
        environment = {"TWILIO_EDGE": ""}
        token = settings.twilio_auth_token.value if settings.twilio_auth_token else ""
        self._client = Client(settings.twilio_account_sid, token, http_client=self._http, environment=environment)
        self._path = f"/2010-04-01/Accounts/{settings.twilio_account_sid}/Messages.json"
        sender = settings.whatsapp_from if name == "whatsapp" else settings.sms_from
        service = sender.startswith("MG")
        self._fixed = {"MessagingServiceSid": sender} if service else {"From": self._prefix + sender}
        if settings.public_url:
            self._fixed["StatusCallback"] = f"{settings.public_url}/twilio/status"
        self._content = settings.whatsapp_content if name == "whatsapp" else ""
        self._threads = ThreadPoolExecutor(parallel, f"twilio-{name}")

    @property
    def name(self) -> ChannelName:
        """The channel's name."""
        return self._name

    async def send(self, message: Message, target: Target) -> Outcome:
        """Hand one message to Twilio.

        429 was not processed and may be sent again; any other 4xx is permanent; after a 5xx or a time-out the
        message may have gone (https://www.twilio.com/docs/api/errors/20429).
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._send, message, target)

    async def find(self, questions: Sequence[Question]) -> dict[str, Sent]:
        """Twilio's copies, known by recipient, date and the reference in the body.

        Raises:
            UnavailableError: Twilio did not answer.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._find, questions)

    async def close(self) -> None:
        """Close the kept connections."""
        self.shutdown()

    def shutdown(self) -> None:
        """The same for those who have no event loop of their own."""
        self._threads.shutdown()
        self._http.close()

    def _send(self, message: Message, target: Target) -> Outcome:
        said = {"Body": message.text}
        if self._content:
            said = {"ContentSid": self._content, "ContentVariables": json.dumps({"1": message.text})}
        form = {"To": self._prefix + target.to.value} | said | self._fixed
        try:
            answer = self._client.request("POST", _ORIGIN + self._path, data=form)
            return self._judge(answer.status_code, answer.text)
        except HTTPError as error:
            # Without a connection the request cannot have been read.
            kind = Retry if isinstance(error, NewConnectionError | ConnectTimeoutError) else Unknown
            return kind(code=type(error).__name__, reason="no answer from Twilio")
        except ValueError as error:  # msgspec's errors are ValueErrors
            # An answer that cannot be read says nothing about the message.
            return Unknown(code=type(error).__name__, reason="Twilio's answer could not be read")

    def _judge(self, status: int, answer: str) -> Outcome:
        if 200 <= status < 300:
            sid = _CREATED.decode(answer).sid
            return Sent(sid) if sid else Unknown(code="no sid", reason="Twilio's answer names no message")
        try:
            code = str(_REFUSED.decode(answer).code or status)
        except ValueError:  # a page of some server between here and Twilio
            code = str(status)
        reason = f"Twilio answered {status}, error {code}"  # its own words may repeat the number
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            return Retry(code=code, reason=reason, after_ms=self._http.retry_after_ms)
        if status >= 500:
            return Unknown(code=code, reason=reason)
        return Permanent(code=code, reason=reason)

    def _find(self, questions: Sequence[Question]) -> dict[str, Sent]:
        asked: defaultdict[str, list[Question]] = defaultdict(list)
        for question in questions:
            asked[question.target.to.value].append(question)
        found: dict[str, Sent] = {}
        try:
            for number, about in asked.items():
                self._search(self._prefix + number, about, found)
        except (HTTPError, ValueError) as error:
            raise UnavailableError(f"Twilio did not list its messages ({type(error).__name__})") from error
        return found

    def _search(self, number: str, questions: list[Question], found: dict[str, Sent]) -> None:
        """Read a number's messages from the newest back to before the first of these was handed over.

        The list is not asked for by date: a message that is still queued has no date of sending and would be missing.
        """
        wanted = {question.message.reference for question in questions}
        earliest = datetime.fromtimestamp((min(q.begun_at for q in questions) - _SLACK_MS) / 1000, UTC)
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
