"""Webhooks: JSON over HTTPS, signed so that the receiver can verify sender and time, and detect repetitions.

The signature is that of Standard Webhooks 1.0.0 (https://www.standardwebhooks.com), for which receivers have libraries.
"""

import asyncio
import base64
import binascii
import hmac
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import MaxRetryError, NewConnectionError

from adapters.channels.channel import DoubtfulMessage, Permanent, Retry, SendOutcome, Sent, Unknown, wait_ms
from adapters.channels.message import Message
from adapters.channels.target import ChannelName, Target
from vedette.clock import Clock

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"

_PREFIX = "whsec_"
_KEY_BYTES = range(24, 65)


class WebhookChannel:
    """Messages as POSTs. A repeated one has the same `webhook-id`, by which the receiver drops it.

    Args:
        timeout_s: Time-out for connecting, and for every wait for bytes.
        parallel: Maximum number of messages sent at the same time.
        clock: Clock for the signature, which is made for each attempt: a retry must not look like a replay.
    """

    def __init__(self, timeout_s: float, parallel: int, clock: Clock) -> None:
        self._timeout_s = timeout_s
        self._clock = clock
        self._threads = ThreadPoolExecutor(parallel, "webhook")
        self._session = requests.Session()
        self._session.trust_env = False  # neither proxies nor passwords from the environment
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=parallel))

    @property
    def name(self) -> ChannelName:
        """The channel's name."""
        return "webhook"

    async def send(self, message: Message, target: Target) -> SendOutcome:
        """Post one message: 2xx means accepted; 408, 425, 429 and 503 retry; other 4xx permanent; otherwise unknown."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._send, message, target)

    async def find(self, doubtful: Sequence[DoubtfulMessage]) -> dict[str, Sent]:
        """Return nothing: a webhook has no look-up. A second copy has the same `webhook-id`."""
        del doubtful
        return {}

    async def close(self) -> None:
        """Close the kept connections."""
        self._threads.shutdown()
        self._session.close()

    def _send(self, message: Message, target: Target) -> SendOutcome:
        body = message.data.encode()
        key = signing_key(target.key.value if target.key else "")
        headers = {"Content-Type": "application/json"} | sign(
            message.reference, self._clock.now_ms() // 1000, body, key
        )
        try:
            answer = self._session.post(
                target.to.value, data=body, headers=headers, timeout=self._timeout_s, allow_redirects=False
            )
        except requests.RequestException as error:
            kind = Retry if _never_connected(error) else Unknown
            return kind(code=type(error).__name__, reason="no answer from the webhook")
        return outcome_of(answer, message.reference)


def outcome_of(answer: requests.Response, provider_id: str) -> SendOutcome:
    """Return the outcome of a posted message from the HTTP response."""
    code, reason = str(answer.status_code), f"the webhook answered {answer.status_code}"
    if answer.ok and answer.status_code < 300:
        return Sent(provider_id)
    if answer.status_code in (408, 425, 429, 503):
        return Retry(code, reason, after_ms=wait_ms(answer.headers.get("Retry-After", "")))
    if answer.status_code >= 500:
        return Unknown(code, reason)
    return Permanent(code, reason)


def _never_connected(error: requests.RequestException) -> bool:
    """Return whether no connection was made, so that the request cannot have been read."""
    if isinstance(error, requests.ConnectTimeout):
        return True
    cause = error.args[0] if error.args else None
    return isinstance(cause, MaxRetryError) and isinstance(cause.reason, NewConnectionError)


def signing_key(secret: str) -> bytes:
    """Return the key in a secret of the form `whsec_<base64 of 24 to 64 bytes>`.

    Raises:
        ValueError: The secret has another form.
    """
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith(_PREFIX) or len(key) not in _KEY_BYTES:
        raise ValueError("a webhook's secret is whsec_ and the base64 form of 24 to 64 random bytes")
    return key


def sign(message_id: str, at_s: int, body: bytes, key: bytes) -> dict[str, str]:
    """Return the three headers that sign a body.

    Args:
        message_id: Id of the message, the same for every attempt.
        at_s: Time of this attempt, seconds since 1970 UTC.
        body: The bytes that are sent.
        key: The recipient's key, see signing_key.
    """
    mac = hmac.digest(key, f"{message_id}.{at_s}.".encode() + body, "sha256")
    return {ID: message_id, TIMESTAMP: str(at_s), SIGNATURE: f"v1,{base64.b64encode(mac).decode()}"}
