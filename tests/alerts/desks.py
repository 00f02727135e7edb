"""Every channel with a real server behind it, and how to make that server misbehave."""

import base64
import json
import threading
import uuid
from collections import deque
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self
from urllib.request import Request, urlopen

import pytest

from adapters.channels.apprise_urls import AppriseChannel
from adapters.channels.channel import Channel
from adapters.channels.email import EmailChannel
from adapters.channels.sns import SnsChannel
from adapters.channels.target import ChannelName, Target
from adapters.channels.twilio import TwilioChannel
from adapters.channels.webhook import ID, WebhookChannel
from stack.mail import MailSink
from stack.sms import BROKEN_BUT_KEPT, INVALID_TO, TOO_MANY, SmsSink
from vedette.clock import Clock
from vedette.settings import SmtpSettings, TwilioSettings
from vedette.settings_base import Secret

SENDER = "vedette@bank.example"
ADDRESS = "fraud.desk@bank.example"
NUMBER = "+14155550101"
TOKEN = "a-token-nobody-may-see"
KEY = "whsec_" + base64.b64encode(b"a-key-nobody-may-see-either").decode()


class Desk:
    """A channel with the server behind it.

    Attributes:
        name: The channel's.
        to: Where its messages go.
        answers_look_ups: Whether the provider can be asked what it has.
        tells_refusals: Whether a refusal can be told from a doubt.
        permanent_code: The provider's for a message it will never take.
    """

    name: ClassVar[ChannelName]
    to: str = ""
    answers_look_ups = False
    tells_refusals = True
    permanent_code = ""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.open.close()

    @property
    def target(self) -> Target:
        """Where messages go."""
        return Target(Secret(self.to), Secret(KEY) if self.name == "webhook" else None)

    def channel(self) -> Channel:
        """The channel, to be used and closed in one event loop."""
        raise NotImplementedError

    def refuse_for_now(self) -> None:
        """The next message is not taken, but may be sent again."""
        raise NotImplementedError

    def refuse_for_good(self) -> None:
        """The next message is not taken, now or ever."""
        raise NotImplementedError

    def take_without_saying_so(self) -> None:
        """The next message is accepted, but the sender never learns of it."""
        raise NotImplementedError

    def go_away(self) -> None:
        """Stop listening."""
        self.open.close()

    def received(self) -> list[str]:
        """Return what identifies each accepted message: the same for every copy of one message."""
        raise NotImplementedError


class EmailDesk(Desk):
    """E-mail to a local mail server."""

    name = "email"
    to = ADDRESS
    permanent_code = "550"

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.sink = self.open.enter_context(MailSink())

    def channel(self) -> Channel:
        """The channel."""
        server = SmtpSettings(host=self.sink.host, port=self.sink.port, starttls=False, timeout_s=5.0)
        return EmailChannel(server, SENDER, kept=4)

    def refuse_for_now(self) -> None:
        """451."""
        self.sink.script("451")

    def refuse_for_good(self) -> None:
        """550."""
        self.sink.script("550")

    def take_without_saying_so(self) -> None:
        """The connection breaks after DATA."""
        self.sink.script("drop")

    def received(self) -> list[str]:
        """Message-IDs."""
        return [mail.message_id for mail in self.sink.mails]


class SmsDesk(Desk):
    """SMS to a local server that answers like Twilio."""

    name = "sms"
    to = NUMBER
    answers_look_ups = True
    permanent_code = "21211"

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.sink = self.open.enter_context(SmsSink(auth_token=TOKEN, clock=clock))

    def channel(self) -> Channel:
        """The channel."""
        account = TwilioSettings(
            account_sid=self.sink.account_sid, auth_token=Secret(TOKEN), base_url=self.sink.url, timeout_s=2.0
        )
        return TwilioChannel(self.name, account, "+14155550100", parallel=4)

    def refuse_for_now(self) -> None:
        """429."""
        self.sink.script(TOO_MANY)

    def refuse_for_good(self) -> None:
        """400 with 21211."""
        self.sink.script(INVALID_TO)

    def take_without_saying_so(self) -> None:
        """500, although the message was accepted."""
        self.sink.script(BROKEN_BUT_KEPT)

    def received(self) -> list[str]:
        """Texts."""
        return [message.body for message in self.sink.messages]


class WhatsAppDesk(SmsDesk):
    """WhatsApp, to the same server."""

    name = "whatsapp"


class HttpSink:
    """An HTTP server that keeps the posted messages, and gives scripted responses.

    Args:
        forward_to: Another server that gets what is kept, and gives the answer where none was scripted.
    """

    def __init__(self, forward_to: str = "") -> None:
        self.posts: list[tuple[dict[str, str], bytes]] = []
        self.answers: deque[tuple[int, bool, bytes]] = deque()
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, kept, said = sink.answers.popleft() if sink.answers else (0, True, b"")
                if kept:
                    sink.posts.append((dict(self.headers), body))
                if kept and forward_to:
                    forwarded = Request(f"{forward_to}{self.path}", body, dict(self.headers))  # noqa: S310, this machine
                    with urlopen(forwarded) as answer:  # noqa: S310
                        said = said or answer.read()
                self.send_response(status or 200)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class WebhookDesk(Desk):
    """A webhook on this machine."""

    name = "webhook"
    permanent_code = "400"

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.sink = self.open.enter_context(HttpSink())
        self.to = f"{self.sink.url}/hook"

    def channel(self) -> Channel:
        """The channel."""
        return WebhookChannel(timeout_s=2.0, parallel=4, clock=self.clock)

    def refuse_for_now(self) -> None:
        """503."""
        self.sink.answers.append((503, False, b""))

    def refuse_for_good(self) -> None:
        """400."""
        self.sink.answers.append((400, False, b""))

    def take_without_saying_so(self) -> None:
        """500, although the message was accepted."""
        self.sink.answers.append((500, True, b""))

    def received(self) -> list[str]:
        """Ids."""
        return [headers[ID] for headers, _ in self.sink.posts]


class AppriseDesk(Desk):
    """Apprise with its JSON service, which posts to a server on this machine."""

    name = "apprise"
    tells_refusals = False

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.sink = self.open.enter_context(HttpSink())
        self.to = self.sink.url.replace("http://", "json://")

    def channel(self) -> Channel:
        """The channel."""
        return AppriseChannel(parallel=4)

    def refuse_for_now(self) -> None:
        """503."""
        self.sink.answers.append((503, False, b""))

    def take_without_saying_so(self) -> None:
        """500, although the message was accepted."""
        self.sink.answers.append((500, True, b""))

    def received(self) -> list[str]:
        """Texts."""
        return [str(json.loads(body)["message"]) for _, body in self.sink.posts]


_THROTTLED = (
    b"<ErrorResponse><Error><Type>Sender</Type><Code>Throttling</Code><Message>slow</Message></Error></ErrorResponse>"
)
_BROKEN = (
    b"<ErrorResponse><Error><Type>Receiver</Type><Code>InternalError</Code><Message>x</Message></Error></ErrorResponse>"
)


class SnsDesk(Desk):
    """SNS on moto's server, whose topic delivers to a queue; a relay before it can fail as AWS does."""

    name = "sns"
    permanent_code = "NotFound"

    def __init__(self, clock: Clock, moto_url: str) -> None:
        import boto3  # noqa: PLC0415, a second that other tests need not pay

        super().__init__(clock)
        environment = self.open.enter_context(pytest.MonkeyPatch.context())
        environment.setenv("AWS_ACCESS_KEY_ID", "test")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "test")
        self.sink = self.open.enter_context(HttpSink(forward_to=moto_url))
        name = uuid.uuid4().hex
        session = boto3.session.Session(region_name="eu-west-1")
        sns, self._sqs = (session.client(kind, endpoint_url=moto_url) for kind in ("sns", "sqs"))
        self._queue = self._sqs.create_queue(QueueName=f"q-{name}")["QueueUrl"]
        self.to = sns.create_topic(Name=f"alerts-{name}")["TopicArn"]
        arn = f"arn:aws:sqs:eu-west-1:123456789012:q-{name}"
        sns.subscribe(TopicArn=self.to, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})
        sns.close()
        self.open.callback(self._sqs.close)
        self._received: list[str] = []

    def channel(self) -> Channel:
        """The channel."""
        return SnsChannel(timeout_s=5.0, parallel=4, endpoint=self.sink.url)

    def refuse_for_now(self) -> None:
        """Throttling."""
        self.sink.answers.append((400, False, _THROTTLED))

    def refuse_for_good(self) -> None:
        """The topic does not exist."""
        error = _THROTTLED.replace(b"Throttling", b"NotFound")
        self.sink.answers.append((404, False, error))

    def take_without_saying_so(self) -> None:
        """500, although the message was accepted."""
        self.sink.answers.append((500, True, _BROKEN))

    def received(self) -> list[str]:
        """Texts."""
        while found := self._sqs.receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10).get("Messages"):
            for each in found:
                self._received.append(each["Body"])
                self._sqs.delete_message(QueueUrl=self._queue, ReceiptHandle=each["ReceiptHandle"])
        return self._received
