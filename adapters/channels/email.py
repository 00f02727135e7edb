"""E-mail over SMTP, with the same Message-ID each time a message is sent, threaded by incident."""

import asyncio
import contextlib
import hashlib
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any

import aiosmtplib

from adapters.channels.channel import ChannelDown, DoubtfulMessage, Permanent, Retry, SendOutcome, Sent, Unknown
from adapters.channels.message import INLINE_IMAGE_ID, Message
from adapters.channels.target import ChannelName, Target
from vedette.settings import SmtpSettings

# 7bit: text that is not ASCII is encoded, so that the server needs no 8BITMIME extension.
_WIRE = policy.SMTP.clone(cte_type="7bit")

_LOGIN = frozenset({"454", "530", "534", "535", "538"})
"""Replies about the login (RFC 4954 4 and 6)."""


class EmailChannel:
    """Messages as e-mail through one mail server; connections are kept while they work.

    Args:
        server: The mail server and the login.
        sender: The sender's address, whose domain ends the Message-ID.
        kept: Maximum number of idle connections.
        tls: Trusted authorities; None trusts those of the system.
    """

    def __init__(self, server: SmtpSettings, sender: str, kept: int, tls: ssl.SSLContext | None = None) -> None:
        self._server = server
        self._sender = sender
        self._kept = kept
        self._tls = tls
        self._idle: list[aiosmtplib.SMTP] = []

    @property
    def name(self) -> ChannelName:
        """The channel's name."""
        return "email"

    async def send(self, message: Message, target: Target) -> SendOutcome:
        """Pass one message to the mail server.

        Until DATA the message cannot have been sent; a connection lost after DATA leaves the outcome unknown. Replies
        4yz are retried and 5yz are permanent (RFC 5321 4.2.1), but a refused connection, login or sender means that the
        channel is down.
        """
        try:
            mail = compose(message, target.to.value, self._sender)
            wire = mail.as_bytes(policy=_WIRE)
        except (ValueError, UnicodeError):
            return Permanent(code="address", reason="the address is not valid in an e-mail")
        while self._idle:
            smtp = self._idle.pop()
            outcome = await self._try(smtp, message, target, wire)
            if not (isinstance(outcome, Retry | ChannelDown) and (outcome.code == "421" or not outcome.code.isdigit())):
                return outcome
            # The server had closed the idle connection; the message was not sent, so another connection is tried at
            # once.
        smtp = aiosmtplib.SMTP(
            hostname=self._server.host,
            port=self._server.port,
            start_tls=self._server.starttls,
            timeout=self._server.timeout_s,
            tls_context=self._tls,
        )
        try:
            await smtp.connect()
            if self._server.username and self._server.password:
                await smtp.login(self._server.username, self._server.password.value)
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            await _leave(smtp)
            return self._down(error)
        return await self._try(smtp, message, target, wire)

    @property
    def _place(self) -> str:
        return f"the mail server {self._server.host}:{self._server.port}"

    def _down(self, error: Exception) -> ChannelDown:
        """Return the channel outcome of an error before any message."""
        code = _code(error)
        if isinstance(error, aiosmtplib.SMTPAuthenticationError) or code in _LOGIN:
            remedy = "check [smtp] username and password"
            return ChannelDown(code, f"{self._place} refused the login with {code}", remedy)
        if isinstance(error, aiosmtplib.SMTPResponseException):
            return ChannelDown(code, f"{self._place} answered {code} before any message", "ask its operator")
        if isinstance(error, ssl.SSLError) or isinstance(error.__cause__, ssl.SSLError):
            return ChannelDown(code, f"{self._place} is not trusted: TLS failed", "check its certificate")
        remedy = "check that it runs, and [smtp] host, port and starttls"
        return ChannelDown(code, f"{self._place} cannot be reached, or not with these settings ({code})", remedy)

    def _not_sent(self, error: Exception) -> SendOutcome:
        """Return the outcome of an error between the login and DATA."""
        if isinstance(error, ValueError) and not isinstance(error, OSError):  # certificate errors of ssl are both
            return Permanent(code="address", reason="SMTP cannot carry the address")
        code = _code(error)
        if code in _LOGIN or code == "421" or not isinstance(error, aiosmtplib.SMTPResponseException):
            return self._down(error)
        # The sender belongs to the channel, not to the message.
        if isinstance(error, aiosmtplib.SMTPSenderRefused) and code.startswith("5"):
            return ChannelDown(code, f"{self._place} refused the sender with {code}", "check the sender's address")
        return self._refusal(error) or self._down(error)

    def _refusal(self, error: Exception) -> Retry | Permanent | None:
        """Return the outcome of a reply of the server, or None if it is not a refusal."""
        code = error.code if isinstance(error, aiosmtplib.SMTPResponseException) else 0
        reason = f"{self._place} answered {code}"
        if 400 <= code < 500:
            return Retry(code=str(code), reason=reason)
        if 500 <= code < 600:
            return Permanent(code=str(code), reason=reason)
        return None

    async def _try(self, smtp: aiosmtplib.SMTP, message: Message, target: Target, wire: bytes) -> SendOutcome:
        """Send on a connection, which is kept only after a success, when its state is known."""
        outcome: SendOutcome | None = None
        try:
            outcome = await self._dialogue(smtp, message, target, wire)
        finally:
            if isinstance(outcome, Sent) and smtp.is_connected and len(self._idle) < self._kept:
                self._idle.append(smtp)
            else:
                await _leave(smtp)
        return outcome

    async def _dialogue(self, smtp: aiosmtplib.SMTP, message: Message, target: Target, wire: bytes) -> SendOutcome:
        try:
            await smtp.mail(self._sender)
            await smtp.rcpt(target.to.value)
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            return self._not_sent(error)
        try:
            await smtp.data(wire)
        except (aiosmtplib.SMTPException, OSError) as error:
            return self._refusal(error) or Unknown(code=_code(error), reason="no answer after DATA")
        return Sent(provider_id=message_id(message, self._sender))

    async def find(self, doubtful: Sequence[DoubtfulMessage]) -> dict[str, Sent]:
        """Return nothing: SMTP has no look-up. A second copy is recognised by its Message-ID."""
        del doubtful
        return {}

    async def close(self) -> None:
        """Close the kept connections."""
        while self._idle:
            await _leave(self._idle.pop())


def message_id(message: Message, sender: str) -> str:
    """Return the Message-ID (RFC 5322 3.6.4) of a message to its recipient, the same each time it is sent."""
    return _identity(f"{message.key}\n{message.recipient}", sender)


def compose(message: Message, to: str, sender: str) -> EmailMessage:
    """Return the message as multipart text and HTML with its chart, byte for byte the same each time.

    Messages about one incident refer to the same artificial id, so that mail programs show them as one conversation
    whichever arrives first (RFC 5322 3.6.4).
    """
    identity = message_id(message, sender)
    mail = EmailMessage()
    mail["From"] = sender
    mail["To"] = to
    mail["Subject"] = message.subject
    mail["Date"] = format_datetime(datetime.fromtimestamp(message.created_at / 1000, UTC))
    mail["Message-ID"] = identity
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
    if message.incident is not None:
        thread = _identity(f"incident {message.incident}", sender)
        mail["In-Reply-To"] = mail["References"] = thread
    mail.set_content(message.text)
    mail.add_alternative(message.html, subtype="html")
    if message.picture:
        html: Any = mail.get_payload()[1]  # type: ignore[index]
        html.add_related(
            message.picture, "image", "png", cid=f"<{INLINE_IMAGE_ID}>", filename="days.png", disposition="inline"
        )
    for number, part in enumerate(mail.walk()):
        if part.is_multipart():
            part.set_boundary(f"={identity[1:33]}.{number}=")
    return mail


def _identity(words: str, sender: str) -> str:
    return f"<{hashlib.sha256(words.encode()).hexdigest()[:32]}@{sender.rpartition('@')[2]}>"


async def _leave(smtp: aiosmtplib.SMTP) -> None:
    """Close a connection; an error during QUIT has no consequence."""
    transport = smtp.transport
    with contextlib.suppress(aiosmtplib.SMTPException, OSError):
        if smtp.is_connected:
            await smtp.quit()
    smtp.close()
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()  # without waiting for the server to end its half of TLS


def _code(error: Exception) -> str:
    return str(error.code) if isinstance(error, aiosmtplib.SMTPResponseException) else type(error).__name__
