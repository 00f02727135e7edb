import asyncio
import ssl
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import msgspec
import pytest

from adapters.channels.channel import ChannelDown, Permanent, Retry, SendOutcome, Sent, Unknown
from adapters.channels.email import EmailChannel, compose, message_id
from adapters.channels.message import Message
from adapters.channels.target import Target
from adapters.http_tls import TlsFiles
from alerts.notify.chart import DailyTotal, draw
from stack.mail import MailSink
from tests.alerts.desks import ADDRESS, SENDER, EmailDesk
from tests.certificates import certificate, trusting
from vedette.settings import SmtpSettings
from vedette.settings_base import Secret

MakeMessage = Callable[..., Message]


def send_all(
    sink: MailSink, *messages: Message, to: str = ADDRESS, tls: Any = None, **changes: Any
) -> list[SendOutcome]:
    """Return the outcomes of messages sent one after another over one channel; with TLS and a login, unless changed."""
    options: dict[str, Any] = {
        "host": "localhost",
        "port": sink.port,
        "starttls": True,
        "username": "user",
        "password": Secret("word"),
        "timeout_s": 5.0,
    }

    async def go() -> list[SendOutcome]:
        channel = EmailChannel(SmtpSettings(**options | changes), SENDER, 4, tls)
        try:
            return [await channel.send(message, Target(Secret(to), None)) for message in messages]
        finally:
            await channel.close()

    return asyncio.run(go())


def plainly(sink: MailSink, *messages: Message, **changes: Any) -> list[SendOutcome]:
    """Do the same without TLS and login, as on a single machine."""
    return send_all(sink, *messages, starttls=False, username="", password=None, **changes)


@pytest.fixture
def mail_desk(dial: Any) -> Iterator[EmailDesk]:
    """E-mail with its server."""
    with EmailDesk(dial) as desk:
        yield desk


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the certificate that the server presents, and of its key."""
    directory = tmp_path_factory.mktemp("tls")
    certificate(directory, "server")
    return directory


@pytest.fixture
def server_tls(authority: Path) -> ssl.SSLContext:
    """The TLS certificate that the server presents."""
    return TlsFiles(str(authority / "server.pem"), str(authority / "server.key")).context()


def test_tls_comes_first_then_the_login(
    authority: Path, server_tls: ssl.SSLContext, mail_desk: EmailDesk, message: MakeMessage
) -> None:
    """With trusted STARTTLS and the right password the message is sent; with a wrong one the channel is down."""
    trust = trusting(authority, "server")
    with MailSink(tls=server_tls, credentials=("user", "word")) as sink:
        (taken,) = send_all(sink, message(mail_desk), tls=trust)
        (refused,) = send_all(sink, message(mail_desk), tls=trust, password=Secret("wrong"))
        assert len(sink.mails) == 1
    assert isinstance(taken, Sent)
    assert isinstance(refused, ChannelDown)
    assert refused.code == "535"
    assert refused.reason == f"the mail server localhost:{sink.port} refused the login with 535"
    assert "[smtp] username and password" in refused.remedy


def test_an_untrusted_certificate_is_never_spoken_to(
    server_tls: ssl.SSLContext, mail_desk: EmailDesk, message: MakeMessage
) -> None:
    """Without a trusted certificate there is no login and no message."""
    with MailSink(tls=server_tls, credentials=("user", "word")) as sink:
        (outcome,) = send_all(sink, message(mail_desk))
        assert isinstance(outcome, ChannelDown)
        assert "TLS failed" in outcome.reason
        assert sink.mails == []


def test_a_server_without_tls_is_never_spoken_to(mail_desk: EmailDesk, message: MakeMessage) -> None:
    """Where STARTTLS is required and not offered, neither password nor message is sent."""
    assert isinstance(send_all(mail_desk.sink, message(mail_desk))[0], ChannelDown)
    assert mail_desk.sink.mails == []


def test_the_message_is_the_same_each_time(mail_desk: EmailDesk, message: MakeMessage) -> None:
    """Two sends of one message, including the picture, have the same bytes, so a second copy is recognised."""
    pictured = msgspec.structs.replace(message(mail_desk), picture=draw([DailyTotal(3, 1)]))
    first, second = (compose(pictured, ADDRESS, SENDER).as_bytes() for _ in range(2))
    assert first == second


def test_a_message_id_is_of_one_message_recipient_and_domain(mail_desk: EmailDesk, message: MakeMessage) -> None:
    """Another message, recipient or sending domain has another id."""
    one = message_id(message(mail_desk), SENDER)
    assert one.endswith("@bank.example>")
    two = message_id(message(mail_desk, 2), SENDER)
    three = message_id(message(mail_desk), "vedette@other.example")
    four = message_id(msgspec.structs.replace(message(mail_desk), recipient="other"), SENDER)
    assert len({one, two, three, four}) == 4


def test_messages_of_an_incident_are_one_conversation(mail_desk: EmailDesk, message: MakeMessage) -> None:
    """Whichever message is first, all refer to one id that none of them has; another incident has another id."""
    mails = [compose(message(mail_desk, number), ADDRESS, SENDER) for number in (1, 2)]
    other = compose(msgspec.structs.replace(message(mail_desk), incident=8), ADDRESS, SENDER)
    digest = compose(msgspec.structs.replace(message(mail_desk), incident=None), ADDRESS, SENDER)
    assert mails[0]["References"] == mails[1]["References"] == mails[0]["In-Reply-To"]
    assert mails[0]["References"] not in {mails[0]["Message-ID"], mails[1]["Message-ID"], other["References"]}
    assert digest["References"] is None


def test_the_mail_arrives_as_text_and_html_with_its_picture(mail_desk: EmailDesk, message: MakeMessage) -> None:
    """The multipart message on the wire is 7-bit and has both bodies, the picture beside the HTML, and its headers."""
    picture = draw([DailyTotal(100, 0), DailyTotal(50, 50)])
    html = '<img src="cid:days">'
    sent = msgspec.structs.replace(message(mail_desk), picture=picture, text="Pérdida\n", html=html)
    plainly(mail_desk.sink, sent)
    [mail] = mail_desk.sink.mails
    assert (mail.sender, mail.to, mail.subject) == (SENDER, (ADDRESS,), sent.subject)
    assert mail.message_id == message_id(sent, SENDER)
    assert mail.text.splitlines() == ["Pérdida"]
    assert mail.html.strip() == html
    assert max(mail.raw) < 128
    parsed = message_from_bytes(mail.raw, policy=policy.default)
    assert parsed["Auto-Submitted"] == "auto-generated"
    assert parsed["Date"] == "Tue, 14 Nov 2023 22:13:20 +0000"
    assert [part.get_content_type() for part in parsed.walk()] == [
        "multipart/alternative", "text/plain", "multipart/related", "text/html", "image/png",
    ]  # fmt: skip
    (image,) = [part for part in parsed.walk() if part.get_content_type() == "image/png"]
    assert (image["Content-ID"], image.get_content()) == ("<days>", picture)


def test_an_address_smtp_cannot_carry_is_permanent(mail_desk: EmailDesk, message: MakeMessage) -> None:
    """A recipient that could not be written on the wire is refused before anything is sent, and not repeated."""
    for address in ("two\r\nlines@bank.example", "fraud@bänk.example"):
        (outcome,) = plainly(mail_desk.sink, message(mail_desk), to=address)
        assert isinstance(outcome, Permanent)
        assert address not in outcome.reason
    assert mail_desk.sink.mails == []


def test_a_connection_is_used_again_and_a_lost_one_costs_no_message(mail_desk: EmailDesk, message: MakeMessage) -> None:
    """After a dropped connection, whose outcome is unknown, the next message uses a new one without a retry."""
    mail_desk.sink.script("accept", "drop", "accept", "451", "accept")
    outcomes = plainly(mail_desk.sink, *(message(mail_desk, number) for number in range(5)))
    assert [type(outcome) for outcome in outcomes] == [Sent, Unknown, Sent, Retry, Sent]
    assert len(mail_desk.sink.mails) == 4
