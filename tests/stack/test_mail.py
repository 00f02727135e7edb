import smtplib
import threading
from email.message import EmailMessage
from pathlib import Path

import pytest

from stack.mail import Mail, MailSink


def mail(subject: str = "hello") -> EmailMessage:
    """Return a small message in two parts."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@example.com", "b@example.com", subject
    message["Message-ID"] = "<1@example.com>"
    message.set_content("words\n")
    message.add_alternative("<p>words</p>\n", subtype="html")
    return message


def test_keeps_what_it_is_sent(tmp_path: Path) -> None:
    """A message arrives parsed, in the callback, and as a file."""
    received: list[Mail] = []
    with MailSink(directory=tmp_path, on_mail=received.append) as sink:
        with smtplib.SMTP(sink.host, sink.port) as client:
            client.send_message(mail())
        [kept] = sink.mails
    assert (kept.sender, kept.to, kept.subject) == ("a@example.com", ("b@example.com",), "hello")
    assert (kept.message_id, kept.text.strip(), kept.html.strip()) == ("<1@example.com>", "words", "<p>words</p>")
    assert received == [kept]
    assert (tmp_path / "000001.eml").read_bytes() == kept.raw


def test_refuses_as_scripted_then_accepts() -> None:
    """Scripted refusals reach the client with their code and keep nothing."""
    with MailSink() as sink:
        sink.script("451", "550")
        with smtplib.SMTP(sink.host, sink.port) as client:
            for code in (451, 550):
                with pytest.raises(smtplib.SMTPDataError) as refusal:
                    client.send_message(mail())
                assert refusal.value.smtp_code == code
            assert sink.mails == []
            client.send_message(mail("third"))
        assert [kept.subject for kept in sink.mails] == ["third"]


def test_drop_keeps_the_message_but_never_says_so() -> None:
    """A dropped connection leaves the client in doubt about a message that did arrive."""
    with MailSink() as sink:
        sink.script("drop")
        client = smtplib.SMTP(sink.host, sink.port)
        with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
            client.send_message(mail())
        client.close()
        assert len(sink.mails) == 1
        with smtplib.SMTP(sink.host, sink.port) as second:
            second.send_message(mail())
        assert len(sink.mails) == 2


def test_ends_its_thread() -> None:
    """After `with` no thread of the sink is left."""
    before = set(threading.enumerate())
    with MailSink():
        pass
    assert set(threading.enumerate()) <= before
