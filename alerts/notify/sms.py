"""SMS through Twilio's REST API, with the official client."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import requests
from twilio.base.exceptions import (  # type: ignore[import-untyped]
    TwilioException,
    TwilioRestException,
    TwilioServiceException,
)
from twilio.http.http_client import TwilioHttpClient  # type: ignore[import-untyped]
from twilio.rest import Client  # type: ignore[import-untyped]
from urllib3.exceptions import MaxRetryError, NewConnectionError

from alerts.notify.channel import Outcome, Permanent, Retry, Sent, Unknown
from alerts.notify.message import ChannelName, Message
from vedette.errors import UnavailableError
from vedette.settings import Secret

_NEWEST = 100  # how many of a recipient's latest messages to read for one that has no DateSent yet


class _Http(TwilioHttpClient):  # type: ignore[misc]
    """Twilio's HTTP client with a time-out, pointed at another server when asked.

    Args:
        timeout_s: For connecting, and for every wait for bytes.
        base_url: Scheme, host and path prefix to use instead of Twilio's; empty keeps Twilio's.
    """

    def __init__(self, *, timeout_s: float, base_url: str) -> None:
        super().__init__(timeout=timeout_s)
        self._base = urlsplit(base_url) if base_url else None
        self.retry_after_ms = 0

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        """One request; remembers how long a 429 asks to wait."""
        if self._base:
            path = self._base.path.rstrip("/") + urlsplit(url).path
            url = urlunsplit((self._base.scheme, self._base.netloc, path, urlsplit(url).query, ""))
        self.retry_after_ms = 0
        response = super().request(method, url, *args, **kwargs)
        after = (response.headers or {}).get("Retry-After", "")
        self.retry_after_ms = 1000 * int(after) if after.isdigit() else 0
        return response

    def log_request(self, kwargs: Any) -> None:
        """Nothing: Twilio's own log lines hold phone numbers."""

    def log_response(self, status_code: int, response: Any) -> None:
        """Nothing: Vedette logs the outcome."""

    def close(self) -> None:
        """Close the kept connections."""
        self.session.close()


class SmsChannel:
    """Messages as SMS through one Twilio account.

    Args:
        account_sid: The account, starting with AC.
        auth_token: Its token.
        sender: A phone number, or a messaging service, starting with MG.
        timeout_s: For connecting, and for every wait for bytes.
        base_url: Another server that speaks Twilio's API; empty: Twilio.
    """

    def __init__(self, *, account_sid: str, auth_token: Secret, sender: str, timeout_s: float, base_url: str) -> None:
        self._http = _Http(timeout_s=timeout_s, base_url=base_url)
        # The client takes region and edge from os.environ unless it is given another mapping that is not empty.
        environment = {"TWILIO_EDGE": ""}
        self._client = Client(account_sid, auth_token.value, http_client=self._http, environment=environment)
        self._sender = {"messaging_service_sid": sender} if sender.startswith("MG") else {"from_": sender}

    @property
    def name(self) -> ChannelName:
        """The channel's name in the ledger."""
        return "sms"

    async def send(self, message: Message) -> Outcome:
        """Hand one message to Twilio.

        429 was not processed and may be sent again; any other 4xx is permanent; after a 5xx or a time-out the
        message may have gone (https://www.twilio.com/docs/api/errors/20429).
        """
        return await asyncio.to_thread(self._send, message)

    async def find(self, message: Message) -> Sent | None:
        """Twilio's copy of the message, known by recipient, date and the reference code in its body.

        Raises:
            UnavailableError: Twilio did not answer.
        """
        return await asyncio.to_thread(self._find, message)

    def close(self) -> None:
        """Close the kept connections."""
        self._http.close()

    def _send(self, message: Message) -> Outcome:
        try:
            created = self._client.messages.create(to=message.recipient, body=message.text, **self._sender)
        except (TwilioRestException, TwilioServiceException) as error:
            return self._judge(error)
        except requests.RequestException as error:
            kind = Retry if _never_connected(error) else Unknown
            return kind(code=type(error).__name__, reason="no answer from Twilio")
        except (TwilioException, ValueError, KeyError) as error:
            # An answer that cannot be read says nothing about the message.
            return Unknown(code=type(error).__name__, reason="Twilio's answer could not be read")
        if not created.sid:
            return Unknown(code="no sid", reason="Twilio's answer names no message")
        return Sent(provider_id=created.sid)

    def _judge(self, error: Any) -> Outcome:
        code, reason = str(error.code or error.status), str(getattr(error, "msg", None) or error)
        if error.status == 429:
            return Retry(code=code, reason=reason, after_ms=self._http.retry_after_ms)
        if error.status >= 500:
            return Unknown(code=code, reason=reason)
        return Permanent(code=code, reason=reason)

    def _find(self, message: Message) -> Sent | None:
        # A message still queued has no DateSent and so may be missing from the first list; it is in the second.
        since = datetime.fromtimestamp(message.created_at / 1000, UTC) - timedelta(days=1)
        listing = self._client.messages
        try:
            for found in chain(
                listing.stream(to=message.recipient, date_sent_after=since, page_size=_NEWEST),
                listing.stream(to=message.recipient, limit=_NEWEST, page_size=_NEWEST),
            ):
                if message.reference in (found.body or ""):
                    return Sent(provider_id=found.sid)
        except (TwilioException, requests.RequestException, ValueError) as error:
            raise UnavailableError(f"Twilio did not list its messages ({type(error).__name__})") from error
        return None


def _never_connected(error: requests.RequestException) -> bool:
    """Whether no connection was made at all, so that the request cannot have been read."""
    if isinstance(error, requests.ConnectTimeout):
        return True
    cause = error.args[0] if error.args else None
    return isinstance(cause, MaxRetryError) and isinstance(cause.reason, NewConnectionError)
