"""E-mail over SMTP, one connection per message, with a Message-ID that is the same on every send."""

import asyncio
import contextlib
import hashlib
import ssl
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage
from email.utils import format_datetime

import aiosmtplib

from alerts.notify.channel import Outcome, Permanent, Retry, Sent, Unknown
from alerts.notify.message import ChannelName, Message
from vedette.settings import Secret

# 7bit: text that is not ASCII is encoded, so the server needs no 8BITMIME extension.
_WIRE = policy.SMTP.clone(cte_type="7bit")


class EmailChannel:
    """Messages as e-mail through one mail server.

    Args:
        host: The mail server.
        port: Its port.
        starttls: Switch to TLS before anything is said; a server that cannot is not used.
        username: Log in as, when not empty.
        password: For the login.
        sender: Address the messages come from; its domain ends the Message-ID.
        timeout_s: For every step of the dialogue.
        tls: Whom to trust; None trusts the system's authorities.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        starttls: bool,
        username: str,
        password: Secret | None,
        sender: str,
        timeout_s: float,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._starttls = starttls
        self._username = username
        self._password = password
        self._sender = sender
        self._timeout_s = timeout_s
        self._tls = tls

    @property
    def name(self) -> ChannelName:
        """The channel's name in the ledger."""
        return "email"

    async def send(self, message: Message) -> Outcome:
        """Hand one message to the mail server.

        Until DATA the message cannot have gone, so a lost connection may be retried; from DATA on it is unknown.
        4yz replies are retried, 5yz are permanent (RFC 5321 4.2.1).
        """
        try:
            wire = compose(message, self._sender).as_bytes(policy=_WIRE)
        except (ValueError, UnicodeError) as error:
            return Permanent(code="address", reason=str(error))
        smtp = aiosmtplib.SMTP(
            hostname=self._host,
            port=self._port,
            start_tls=self._starttls,
            timeout=self._timeout_s,
            tls_context=self._tls,
        )
        try:
            await smtp.connect()
        except (aiosmtplib.SMTPException, OSError) as error:
            return _not_gone(error)
        transport = smtp.transport
        try:
            return await self._dialogue(smtp, message, wire)
        finally:
            # The answer to DATA has been given or not; what QUIT meets changes nothing any more.
            with contextlib.suppress(aiosmtplib.SMTPException, OSError):
                if smtp.is_connected:
                    await smtp.quit()
            smtp.close()
            if isinstance(transport, asyncio.WriteTransport):
                transport.abort()  # without waiting for the server to end its half of TLS

    async def _dialogue(self, smtp: aiosmtplib.SMTP, message: Message, wire: bytes) -> Outcome:
        try:
            if self._username and self._password:
                await smtp.login(self._username, self._password.value)
            await smtp.mail(self._sender)
            await smtp.rcpt(message.recipient)
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            return _not_gone(error)
        try:
            await smtp.data(wire)
        except (aiosmtplib.SMTPException, OSError) as error:
            return _refusal(error) or Unknown(code=_code(error), reason=str(error))
        return Sent(provider_id=message_id(message, self._sender))

    async def find(self, message: Message) -> Sent | None:
        """None: a mail server cannot be asked what it took. A second copy is known by its Message-ID."""
        del message
        return None


def message_id(message: Message, sender: str) -> str:
    """The Message-ID (RFC 5322 3.6.4): the same for every send of one alert to one recipient."""
    digest = hashlib.sha256(f"{message.alert_id}\n{message.recipient}".encode()).hexdigest()[:32]
    return f"<{digest}@{sender.rpartition('@')[2]}>"


def compose(message: Message, sender: str) -> EmailMessage:
    """The message as multipart text and HTML, byte for byte the same each time."""
    identity = message_id(message, sender)
    mail = EmailMessage()
    mail["From"] = sender
    mail["To"] = message.recipient
    mail["Subject"] = message.subject
    mail["Date"] = format_datetime(datetime.fromtimestamp(message.created_at / 1000, UTC))
    mail["Message-ID"] = identity
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
    mail.set_content(message.text)
    mail.add_alternative(message.html, subtype="html")
    mail.set_boundary(f"={identity[1:33]}=")
    return mail


def _not_gone(error: Exception) -> Outcome:
    """What an error before DATA means: an address SMTP cannot carry, a refusal, or a connection to try again."""
    if isinstance(error, ValueError) and not isinstance(error, OSError):  # ssl's certificate errors are both
        return Permanent(code="address", reason=str(error))
    return _refusal(error) or Retry(code=_code(error), reason=str(error))


def _refusal(error: Exception) -> Retry | Permanent | None:
    """What a reply of the server means, or None when there was no reply or it is no refusal."""
    code = error.code if isinstance(error, aiosmtplib.SMTPResponseException) else 0
    if 400 <= code < 500:
        return Retry(code=str(code), reason=str(error))
    if 500 <= code < 600:
        return Permanent(code=str(code), reason=str(error))
    return None


def _code(error: Exception) -> str:
    return str(error.code) if isinstance(error, aiosmtplib.SMTPResponseException) else type(error).__name__
