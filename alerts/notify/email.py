"""E-mail over SMTP, with a Message-ID that is the same on every send, threaded by incident."""

import asyncio
import contextlib
import hashlib
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage
from email.utils import format_datetime

import aiosmtplib

from alerts.incidents.routing import ChannelName, Target
from alerts.notify.channel import Outcome, Permanent, Question, Retry, Sent, Unknown
from alerts.notify.message import Message
from alerts.notify.words import PICTURE
from vedette.settings import NotifySettings

# 7bit: text that is not ASCII is encoded, so the server needs no 8BITMIME extension.
_WIRE = policy.SMTP.clone(cte_type="7bit")


class EmailChannel:
    """Messages as e-mail through one mail server; connections are kept while they work.

    Args:
        settings: The server, the login, and the sender, whose domain ends the Message-ID.
        kept: How many idle connections are kept.
        tls: Whom to trust; None trusts the system's authorities.
    """

    def __init__(self, settings: NotifySettings, kept: int, tls: ssl.SSLContext | None = None) -> None:
        self._settings = settings
        self._kept = kept
        self._tls = tls
        self._idle: list[aiosmtplib.SMTP] = []

    @property
    def name(self) -> ChannelName:
        """The channel's name."""
        return "email"

    async def send(self, message: Message, target: Target) -> Outcome:
        """Hand one message to the mail server.

        Until DATA the message cannot have gone, so a lost connection may be retried; from DATA on it is unknown.
        4yz replies are retried, 5yz are permanent (RFC 5321 4.2.1).
        """
        try:
            mail = compose(message, target.to.value, self._settings.email_from)
            wire = mail.as_bytes(policy=_WIRE)
        except (ValueError, UnicodeError):
            return Permanent(code="address", reason="the address cannot stand in an e-mail")
        while self._idle:
            smtp = self._idle.pop()
            outcome = await self._try(smtp, message, target, wire)
            if not (isinstance(outcome, Retry) and (outcome.code == "421" or not outcome.code.isdigit())):
                return outcome
            # The server had ended the idle connection; the message has not gone, so another one is tried at once.
        smtp = aiosmtplib.SMTP(
            hostname=self._settings.smtp_host,
            port=self._settings.smtp_port,
            start_tls=self._settings.smtp_starttls,
            timeout=self._settings.timeout_s,
            tls_context=self._tls,
        )
        try:
            await smtp.connect()
            if self._settings.smtp_username and self._settings.smtp_password:
                await smtp.login(self._settings.smtp_username, self._settings.smtp_password.value)
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            await _leave(smtp)
            return _not_gone(error)
        return await self._try(smtp, message, target, wire)

    async def _try(self, smtp: aiosmtplib.SMTP, message: Message, target: Target, wire: bytes) -> Outcome:
        """Send on a connection, and keep it only if all went well: its state is then known."""
        outcome: Outcome | None = None
        try:
            outcome = await self._dialogue(smtp, message, target, wire)
        finally:
            if isinstance(outcome, Sent) and smtp.is_connected and len(self._idle) < self._kept:
                self._idle.append(smtp)
            else:
                await _leave(smtp)
        return outcome

    async def _dialogue(self, smtp: aiosmtplib.SMTP, message: Message, target: Target, wire: bytes) -> Outcome:
        try:
            await smtp.mail(self._settings.email_from)
            await smtp.rcpt(target.to.value)
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            return _not_gone(error)
        try:
            await smtp.data(wire)
        except (aiosmtplib.SMTPException, OSError) as error:
            return _refusal(error) or Unknown(code=_code(error), reason="no answer after DATA")
        return Sent(provider_id=message_id(message, self._settings.email_from))

    async def find(self, questions: Sequence[Question]) -> dict[str, Sent]:
        """Nothing: a mail server cannot be asked what it took. A second copy is known by its Message-ID."""
        del questions
        return {}

    async def close(self) -> None:
        """Close the kept connections."""
        while self._idle:
            await _leave(self._idle.pop())


def message_id(message: Message, sender: str) -> str:
    """The Message-ID (RFC 5322 3.6.4): the same for every send of one message to one recipient."""
    return _identity(f"{message.key}\n{message.recipient}", sender)


def compose(message: Message, to: str, sender: str) -> EmailMessage:
    """The message as multipart text and HTML with its picture, byte for byte the same each time.

    Messages about one incident refer to one id that stands for it, so mail programs show them as one conversation
    whichever of them arrives first (RFC 5322 3.6.4; none of them bears that id itself).
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
        html = mail.get_payload()[1]  # type: ignore[index]
        html.add_related(message.picture, "image", "png", cid=f"<{PICTURE}>", filename="days.png", disposition="inline")  # type: ignore[union-attr]
    for number, part in enumerate(mail.walk()):
        if part.is_multipart():
            part.set_boundary(f"={identity[1:33]}.{number}=")
    return mail


def _identity(words: str, sender: str) -> str:
    return f"<{hashlib.sha256(words.encode()).hexdigest()[:32]}@{sender.rpartition('@')[2]}>"


async def _leave(smtp: aiosmtplib.SMTP) -> None:
    """End a connection; what QUIT meets changes nothing any more."""
    transport = smtp.transport
    with contextlib.suppress(aiosmtplib.SMTPException, OSError):
        if smtp.is_connected:
            await smtp.quit()
    smtp.close()
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()  # without waiting for the server to end its half of TLS


def _not_gone(error: Exception) -> Outcome:
    """What an error before DATA means: an address SMTP cannot carry, a refusal, or a connection to try again."""
    if isinstance(error, ValueError) and not isinstance(error, OSError):  # ssl's certificate errors are both
        return Permanent(code="address", reason="SMTP cannot carry the address")
    return _refusal(error) or Retry(code=_code(error), reason="no connection, or lost before DATA")


def _refusal(error: Exception) -> Retry | Permanent | None:
    """What a reply of the server means, or None when there was no reply or it is no refusal."""
    code = error.code if isinstance(error, aiosmtplib.SMTPResponseException) else 0
    if 400 <= code < 500:
        return Retry(code=str(code), reason=f"the mail server answered {code}")
    if 500 <= code < 600:
        return Permanent(code=str(code), reason=f"the mail server answered {code}")
    return None


def _code(error: Exception) -> str:
    return str(error.code) if isinstance(error, aiosmtplib.SMTPResponseException) else type(error).__name__
