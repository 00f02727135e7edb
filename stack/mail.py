"""A local mail server that keeps every message it receives: real SMTP, on this machine only."""

import asyncio
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Literal, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session

Reply = Literal["accept", "drop", "451", "550"]

_REPLIES = {"accept": "250 2.0.0 kept", "451": "451 4.3.0 try again later", "550": "550 5.7.1 not wanted here"}


@dataclass(frozen=True, slots=True)
class Mail:
    """A message as it was received; `text` and `html` are its decoded parts."""

    sender: str
    to: tuple[str, ...]
    subject: str
    message_id: str
    text: str
    html: str
    raw: bytes


class MailSink:
    """An SMTP server on 127.0.0.1 that runs in a thread for the duration of a `with` block.

    Args:
        port: Port to listen on; 0 takes a free one.
        directory: Folder to which every message is also written as an .eml file.
        on_mail: Called in the server's thread with every message kept.
        tls: Offer STARTTLS with this certificate.
        credentials: User name and password a client must log in with, over TLS only.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        directory: Path | None = None,
        on_mail: Callable[[Mail], None] | None = None,
        tls: ssl.SSLContext | None = None,
        credentials: tuple[str, str] | None = None,
    ) -> None:
        self.host = "127.0.0.1"
        self.port = port
        self._directory = directory
        self._on_mail = on_mail
        self._credentials = credentials
        self._tls = tls
        self._mails: list[Mail] = []
        self._replies: deque[Reply] = deque()
        self._lock = threading.Lock()
        self._controller: _Controller | None = None

    def __enter__(self) -> Self:
        listener = socket.create_server((self.host, self.port))
        # Small responses are sent at once; connections inherit this.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port = listener.getsockname()[1]
        options: dict[str, Any] = {"tls_context": self._tls} if self._tls else {}
        if self._credentials:
            options |= {"authenticator": self._authenticate, "auth_required": True}
        self._controller = _Controller(self, listener, **options)
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening; kept messages stay readable."""
        if self._controller:
            self._controller.stop()
            self._controller = None

    @property
    def mails(self) -> list[Mail]:
        """Return the messages kept so far, in order of arrival."""
        with self._lock:
            return list(self._mails)

    def script(self, *replies: Reply) -> None:
        """Give these responses to the next messages, then accept again.

        `drop` keeps the message but closes the connection before the response; `451` and `550` keep nothing.
        """
        with self._lock:
            self._replies.extend(replies)

    def unscript(self) -> None:
        """Accept messages again, discarding scripted responses."""
        with self._lock:
            self._replies.clear()

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:  # noqa: N802, aiosmtpd's name
        """Receive one message; called by aiosmtpd."""
        del session
        with self._lock:
            reply = self._replies.popleft() if self._replies else "accept"
        if reply in ("accept", "drop"):
            self._keep(envelope)
        if reply == "drop":
            server.transport.abort()
            raise asyncio.CancelledError
        return _REPLIES[reply]

    def _keep(self, envelope: Envelope) -> None:
        raw = envelope.original_content or b""
        parsed = message_from_bytes(raw, policy=policy.default)
        mail = Mail(
            sender=envelope.mail_from or "",
            to=tuple(envelope.rcpt_tos),
            subject=str(parsed["Subject"] or ""),
            message_id=str(parsed["Message-ID"] or ""),
            text=_part(parsed, "plain"),
            html=_part(parsed, "html"),
            raw=raw,
        )
        with self._lock:
            self._mails.append(mail)
            number = len(self._mails)
        if self._directory:
            self._directory.mkdir(parents=True, exist_ok=True)
            (self._directory / f"{number:06d}.eml").write_bytes(raw)
        if self._on_mail:
            self._on_mail(mail)

    def _authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, login: Any) -> AuthResult:
        del server, session, envelope, mechanism
        given = (login.login.decode(), login.password.decode()) if isinstance(login, LoginPassword) else None
        return AuthResult(success=given == self._credentials, handled=False)  # False: aiosmtpd itself answers 535


class _Controller(Controller):  # type: ignore[misc]
    """aiosmtpd's thread, on a socket that is already bound, so that a free port is known from the start."""

    def __init__(self, handler: MailSink, listener: socket.socket, **options: Any) -> None:
        super().__init__(handler, hostname=handler.host, port=handler.port, **options)
        self._listener = listener

    def _create_server(self) -> Any:
        return self.loop.create_server(self._factory_invoker, sock=self._listener)


def _part(message: EmailMessage, kind: str) -> str:
    part = message.get_body(preferencelist=(kind,))
    return str(part.get_content()) if part else ""
