import asyncio
import shutil
import ssl
import subprocess
from collections.abc import Callable
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest

from alerts.notify.channel import Outcome, Permanent, Retry, Sent
from alerts.notify.email import EmailChannel, compose, message_id
from alerts.notify.message import Message
from stack.mail import MailSink
from vedette.settings import Secret

MakeMessage = Callable[..., Message]
SENDER = "vedette@bank.example"


def send(sink: MailSink, message: Message, **changes: Any) -> Outcome:
    """What becomes of one message over TLS with a login, unless changed."""
    options: dict[str, Any] = {
        "host": "localhost",
        "port": sink.port,
        "starttls": True,
        "username": "user",
        "password": Secret("word"),
        "sender": SENDER,
        "timeout_s": 5.0,
    }
    return asyncio.run(EmailChannel(**options | changes).send(message))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost and its key, made for this run."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    directory = tmp_path_factory.mktemp("tls")
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-out", certificate, "-keyout", key],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


@pytest.fixture
def server_tls(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    """What the server shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


def test_tls_comes_first_then_the_login(
    certificate: tuple[Path, Path], server_tls: ssl.SSLContext, mail_desk: Any, message: MakeMessage
) -> None:
    """Over STARTTLS with a trusted certificate and the right password the message goes; a wrong one is permanent."""
    trust = ssl.create_default_context(cafile=certificate[0])
    with MailSink(tls=server_tls, credentials=("user", "word")) as sink:
        assert isinstance(send(sink, message(mail_desk), tls=trust), Sent)
        refused = send(sink, message(mail_desk), tls=trust, password=Secret("wrong"))
        assert len(sink.mails) == 1
    assert isinstance(refused, Permanent)
    assert refused.code == "535"


def test_an_untrusted_certificate_is_never_spoken_to(
    server_tls: ssl.SSLContext, mail_desk: Any, message: MakeMessage
) -> None:
    """Without trust there is no login and no message."""
    with MailSink(tls=server_tls, credentials=("user", "word")) as sink:
        assert isinstance(send(sink, message(mail_desk)), Retry)
        assert sink.mails == []


def test_a_server_without_tls_is_never_spoken_to(mail_desk: Any, message: MakeMessage) -> None:
    """Where STARTTLS is asked for and not offered, neither password nor message is sent."""
    assert isinstance(send(mail_desk.sink, message(mail_desk)), Retry)
    assert mail_desk.sink.mails == []


def test_the_message_is_the_same_each_time(mail_desk: Any, message: MakeMessage) -> None:
    """Two sends of one message are the same bytes, so that a second copy is recognised."""
    first, second = (compose(message(mail_desk), SENDER).as_bytes() for _ in range(2))
    assert first == second


def test_a_message_id_is_of_one_alert_recipient_and_domain(mail_desk: Any, message: MakeMessage) -> None:
    """Another alert, recipient or sending domain is another message."""
    one = message_id(message(mail_desk), SENDER)
    assert one.endswith("@bank.example>")
    two = message_id(message(mail_desk, 2), SENDER)
    three = message_id(message(mail_desk), "vedette@other.example")
    mail_desk.recipient = "other@bank.example"
    assert len({one, two, three, message_id(message(mail_desk), SENDER)}) == 4


def test_the_mail_arrives_as_text_and_html(mail_desk: Any, message: MakeMessage) -> None:
    """The multipart message on the wire is 7-bit and has both bodies and its headers."""
    sent = message(mail_desk)
    asyncio.run(mail_desk.channel.send(sent))
    [mail] = mail_desk.sink.mails
    assert (mail.sender, mail.to, mail.subject) == (SENDER, (mail_desk.recipient,), sent.subject)
    assert mail.message_id == message_id(sent, SENDER)
    assert mail.text.splitlines() == sent.text.splitlines()
    assert mail.html.splitlines() == sent.html.splitlines()
    assert max(mail.raw) < 128
    headers = message_from_bytes(mail.raw, policy=policy.default)
    assert headers["Auto-Submitted"] == "auto-generated"
    assert headers["Date"] == "Tue, 14 Nov 2023 22:13:20 +0000"


def test_an_address_smtp_cannot_carry_is_permanent(mail_desk: Any, message: MakeMessage) -> None:
    """A recipient that could not be written on the wire is refused before anything is sent."""
    for address in ("two\r\nlines@bank.example", "fraud@bänk.example"):
        mail_desk.recipient = address
        assert isinstance(asyncio.run(mail_desk.channel.send(message(mail_desk))), Permanent)
    assert mail_desk.sink.mails == []
