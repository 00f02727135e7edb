"""A local server that answers like Twilio's Messages resource (API version 2010-04-01), on this machine only.

It keeps the messages instead of sending them. Response formats and error codes follow Twilio's documentation
(https://www.twilio.com/docs/messaging/api/message-resource, https://www.twilio.com/docs/api/errors).
"""

import base64
import re
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import urlencode

from stack.sms_http import API, SmsHttpServer, SmsResponse, missing, post_signed
from vedette.clock import Clock, SystemClock

_E164 = re.compile(r"(whatsapp:)?\+[1-9][0-9]{6,14}")
_LONGEST_BODY = 1600
_HANG_S = 60.0


@dataclass(frozen=True, slots=True)
class Sms:
    """A message as it was received; `sent_at` is in ms since 1970-01-01 UTC, `callback` is the URL for receipts."""

    sid: str
    to: str
    sender: str
    body: str
    sent_at: int
    callback: str = ""


TOO_MANY = SmsResponse(HTTPStatus.TOO_MANY_REQUESTS, 20429, "Too Many Requests")
BROKEN = SmsResponse(HTTPStatus.INTERNAL_SERVER_ERROR, 20500, "Internal Server Error")
BROKEN_BUT_KEPT = SmsResponse(HTTPStatus.INTERNAL_SERVER_ERROR, 20500, "Internal Server Error", kept=True)
SILENT = SmsResponse(hangs=True)
SILENT_BUT_KEPT = SmsResponse(hangs=True, kept=True)
INVALID_TO = SmsResponse(HTTPStatus.BAD_REQUEST, 21211, "The 'To' number is not a valid phone number.")


class SmsSink:
    """An HTTP server on 127.0.0.1 that runs in threads for the duration of a `with` block.

    Args:
        port: Port to listen on; 0 takes a free one.
        account_sid: SID of its account.
        auth_token: Token of the account.
        on_sms: Called in a server thread with every message kept; may be set later.
        clock: Clock for the dates of messages.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        account_sid: str = "AC" + 32 * "0",
        auth_token: str = "local",  # noqa: S107, the sink keeps nothing worth protecting
        on_sms: Callable[[Sms], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.host = "127.0.0.1"
        self.port = port
        self.account_sid = account_sid
        self.auth_token = auth_token
        self.on_sms = on_sms
        self._clock = clock or SystemClock()
        self._messages: list[Sms] = []
        self._answers: deque[SmsResponse] = deque()
        self._deaf = 0
        self._replies = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server: SmsHttpServer | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._server = SmsHttpServer((self.host, self.port), self)
        self.port = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="sms-sink", kwargs={"poll_interval": 0.05}
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening; kept messages stay readable."""
        self._closing.set()
        if self._server and self._thread:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    @property
    def url(self) -> str:
        """Return the value of `[twilio] base_url`."""
        return f"http://{self.host}:{self.port}"

    @property
    def messages(self) -> list[Sms]:
        """Return the messages kept so far, in order of arrival."""
        with self._lock:
            return list(self._messages)

    def script(self, *answers: SmsResponse) -> None:
        """Give these responses to the next POSTs, then the usual ones again."""
        with self._lock:
            self._answers.extend(answers)

    def refuse_lists(self, times: int) -> None:
        """Answer the next GETs with 503."""
        with self._lock:
            self._deaf = times

    def report(self, message: Sms, status: str, error_code: str = "", *, times: int = 1) -> list[int]:
        """Post a signed delivery receipt to the callback of the message, and return the HTTP statuses."""
        form = {"MessageSid": message.sid, "MessageStatus": status, "To": message.to, "AccountSid": self.account_sid}
        if error_code:
            form["ErrorCode"] = error_code
        return [post_signed(message.callback, form, self.auth_token) for _ in range(times)]

    def reply(self, url: str, sender: str, body: str, *, times: int = 1) -> list[int]:
        """Post an incoming message to a webhook, as often as Twilio would repeat it, and return the HTTP statuses."""
        with self._lock:
            self._replies += 1
            sid = f"SM{self._replies:031x}f"
        form = {"MessageSid": sid, "From": sender, "Body": body, "AccountSid": self.account_sid}
        return [post_signed(url, form, self.auth_token) for _ in range(times)]

    def authorised(self, account: str, header: str) -> bool:
        """Return whether a request's account and Authorization header are the sink's."""
        expected = base64.b64encode(f"{self.account_sid}:{self.auth_token}".encode()).decode()
        return account == self.account_sid and header == f"Basic {expected}"

    def post(self, form: dict[str, str]) -> SmsResponse | dict[str, Any]:
        """Create a message, and return its resource, or a scripted answer."""
        with self._lock:
            answer = self._answers.popleft() if self._answers else SmsResponse()
        if answer.status == HTTPStatus.CREATED and not answer.hangs:
            if fault := _fault(form):
                return fault
            # A new message is still queued and has no date of sending.
            return self._resource(self._keep(form)) | {"status": "queued", "date_sent": None}
        if answer.kept:
            self._keep(form)
        if answer.hangs:
            self._closing.wait(_HANG_S)
        return answer

    def get(self, sid: str) -> SmsResponse | dict[str, Any]:
        """Return the resource of one message."""
        for message in self.messages:
            if message.sid == sid:
                return self._resource(message)
        return missing(sid)

    def list(self, query: dict[str, str]) -> SmsResponse | dict[str, Any]:
        """A page of the messages, newest first, filtered by To, From and DateSent."""
        with self._lock:
            if self._deaf:
                self._deaf -= 1
                return SmsResponse(HTTPStatus.SERVICE_UNAVAILABLE, 20503, "Service unavailable")
        to = query.get("To")
        found = [each for each in reversed(self.messages) if to in (None, each.to) and _matches(each, query)]
        size, page = int(query.get("PageSize", "50")), int(query.get("Page", "0"))
        shown = found[page * size : (page + 1) * size]
        path = f"{API}/Accounts/{self.account_sid}/Messages.json"

        def uri(number: int) -> str:
            return f"{path}?{urlencode(query | {'PageSize': str(size), 'Page': str(number)})}"

        return {
            "messages": [self._resource(message) for message in shown],
            "page": page,
            "page_size": size,
            "start": page * size,
            "end": page * size + max(len(shown) - 1, 0),
            "uri": uri(page),
            "first_page_uri": uri(0),
            "previous_page_uri": uri(page - 1) if page else None,
            "next_page_uri": uri(page + 1) if len(found) > (page + 1) * size else None,
        }

    def _keep(self, form: dict[str, str]) -> Sms:
        with self._lock:
            message = Sms(
                sid=f"SM{len(self._messages) + 1:032x}",
                to=form.get("To", ""),
                sender=form.get("From", "") or form.get("MessagingServiceSid", ""),
                body=form.get("Body", ""),
                sent_at=self._clock.now_ms(),
                callback=form.get("StatusCallback", ""),
            )
            self._messages.append(message)
        if self.on_sms:
            self.on_sms(message)
        return message

    def _resource(self, message: Sms) -> dict[str, Any]:
        date = _written(message.sent_at // 1000)
        uri = f"{API}/Accounts/{self.account_sid}/Messages/{message.sid}"
        service = message.sender if message.sender.startswith("MG") else None
        return {
            "sid": message.sid,
            "account_sid": self.account_sid,
            "messaging_service_sid": service,
            "from": None if service else message.sender,
            "to": message.to,
            "body": message.body,
            "status": "sent",
            "direction": "outbound-api",
            "date_created": date,
            "date_sent": date,
            "date_updated": date,
            "num_segments": str(1 if len(message.body) <= 160 else -(-len(message.body) // 153)),
            "num_media": "0",
            "price": None,
            "price_unit": "USD",
            "error_code": None,
            "error_message": None,
            "api_version": "2010-04-01",
            "uri": f"{uri}.json",
            "subresource_uris": {"media": f"{uri}/Media.json"},
        }


@lru_cache(maxsize=1)
def _written(at_s: int) -> str:
    """Return a time in Twilio's format, cached because successive messages mostly have the same second."""
    return format_datetime(datetime.fromtimestamp(at_s, UTC))


def _fault(form: dict[str, str]) -> SmsResponse | None:
    """Return Twilio's error for a message, if it would be refused."""
    bad = HTTPStatus.BAD_REQUEST
    to, body = form.get("To", ""), form.get("Body", "")
    if not to:
        return SmsResponse(bad, 21604, "A 'To' phone number is required.")
    if not _E164.fullmatch(to):
        return SmsResponse(bad, 21211, f"The 'To' number {to} is not a valid phone number.")
    if not form.get("From") and not form.get("MessagingServiceSid"):
        return SmsResponse(bad, 21603, "A 'From' phone number is required.")
    if not body:
        return SmsResponse(bad, 21602, "Message body is required.")
    if len(body) > _LONGEST_BODY:
        return SmsResponse(bad, 21617, "The concatenated message body exceeds the 1600 character limit.")
    return None


def _matches(message: Sms, query: dict[str, str]) -> bool:
    if query.get("From", message.sender) != message.sender:
        return False
    if not any(name.startswith("DateSent") for name in query):
        return True
    day = datetime.fromtimestamp(message.sent_at / 1000, UTC).date().isoformat()
    return (
        query.get("DateSent", day)[:10] == day
        and query.get("DateSent>", day)[:10] <= day <= query.get("DateSent<", day)[:10]
    )
