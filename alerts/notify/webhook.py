"""Webhooks: JSON over HTTPS, signed so that the receiver knows who sent it, when, and whether it has it already.

The signature follows the form many services use: `t=<unix seconds>,v1=<hex of HMAC-SHA256 over "t.body">`.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import MaxRetryError, NewConnectionError

from alerts.incidents.routing import ChannelName, Target
from alerts.notify.channel import Outcome, Permanent, Question, Retry, Sent, Unknown
from alerts.notify.message import Message
from vedette.clock import Clock
from vedette.settings import Secret

SIGNATURE = "Vedette-Signature"
IDENTITY = "Vedette-Id"
WINDOW_S = 300
"""How old or how far ahead a signature may be."""


class WebhookChannel:
    """Messages as POSTs. A repeated one has the same `Vedette-Id`, by which the receiver drops it.

    Args:
        timeout_s: For connecting, and for every wait for bytes.
        parallel: How many are under way at once.
        clock: Dates the signature, which is made anew for each send: a retry must not look like a replay.
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

    async def send(self, message: Message, target: Target) -> Outcome:
        """Post one message: 2xx took it; 408, 425, 429 and 503 did not, yet; other 4xx never will; else unknown."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._send, message, target)

    async def find(self, questions: Sequence[Question]) -> dict[str, Sent]:
        """Nothing: a webhook cannot be asked. A second copy is known by its `Vedette-Id`."""
        del questions
        return {}

    async def close(self) -> None:
        """Close the kept connections."""
        self._threads.shutdown()
        self._session.close()

    def _send(self, message: Message, target: Target) -> Outcome:
        body = message.data.encode()
        key = target.key or Secret("")
        headers = {
            "Content-Type": "application/json",
            IDENTITY: message.reference,
            SIGNATURE: sign(body, key, self._clock.now_ms() // 1000),
        }
        try:
            answer = self._session.post(
                target.to.value, data=body, headers=headers, timeout=self._timeout_s, allow_redirects=False
            )
        except requests.RequestException as error:
            kind = Retry if _never_connected(error) else Unknown
            return kind(code=type(error).__name__, reason="no answer from the webhook")
        return judge(answer, message.reference)


def judge(answer: requests.Response, provider_id: str) -> Outcome:
    """What an HTTP answer says about the message that was posted."""
    code, reason = str(answer.status_code), f"the webhook answered {answer.status_code}"
    if answer.ok and answer.status_code < 300:
        return Sent(provider_id)
    if answer.status_code in (408, 425, 429, 503):
        after = answer.headers.get("Retry-After", "")
        return Retry(code, reason, after_ms=1000 * int(after) if after.isdigit() else 0)
    if answer.status_code >= 500:
        return Unknown(code, reason)
    return Permanent(code, reason)


def _never_connected(error: requests.RequestException) -> bool:
    """Whether no connection was made at all, so that the request cannot have been read."""
    if isinstance(error, requests.ConnectTimeout):
        return True
    cause = error.args[0] if error.args else None
    return isinstance(cause, MaxRetryError) and isinstance(cause.reason, NewConnectionError)


def sign(body: bytes, key: Secret, at_s: int) -> str:
    """The value of the signature header for a body and a moment (seconds since 1970 UTC)."""
    mac = hmac.new(key.value.encode(), f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={mac}"


def verify(header: str, body: bytes, key: Secret, now_s: int) -> bool:
    """Whether a body was signed with the key, within the window around now: what a receiver must check."""
    stamp = header.partition(",")[0].removeprefix("t=")
    if not stamp.isdecimal() or not stamp.isascii() or len(stamp) > 12 or abs(now_s - int(stamp)) > WINDOW_S:
        return False
    return hmac.compare_digest(sign(body, key, int(stamp)).encode(), header.encode())
