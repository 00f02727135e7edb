"""What tests of alerts share: a clock set by hand, alerts, a ledger, channels and databases with a real server."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any, Protocol

import pytest
import structlog
from sqlalchemy import Engine

from alerts.database import open_database
from alerts.database.tables import metadata
from alerts.notify.channel import Channel
from alerts.notify.courier import Courier
from alerts.notify.email import EmailChannel
from alerts.notify.ledger import Ledger
from alerts.notify.message import ChannelName, Message, Renderer
from alerts.notify.sender import RetryPolicy
from alerts.notify.sms import SmsChannel
from stack.mail import MailSink
from stack.postgres import PostgresServer
from stack.process import free_ports
from stack.sms import BROKEN_BUT_KEPT, INVALID_TO, TOO_MANY, SmsSink
from tests.conftest import missing
from vedette.errors import UnavailableError
from vedette.events import Alert
from vedette.settings import IncidentSettings, Secret

SENDER = "vedette@bank.example"
ADDRESS = "fraud.desk@bank.example"
NUMBER = "+14155550101"
TOKEN = "a-token-nobody-may-see"
ACCOUNT = "DE0212030000000020205155"


class Dial:
    """A clock set by hand."""

    def __init__(self, now: int = 1_700_000_000_000) -> None:
        self.now = now

    def now_ms(self) -> int:
        """The time it was set to."""
        return self.now


class Desk(Protocol):
    """A channel with the server behind it, and how to make that server misbehave."""

    name: ChannelName
    recipient: str
    channel: Channel
    answers_look_ups: bool
    permanent_code: str

    def refuse_for_now(self) -> None:
        """The next message is not taken, but may be sent again."""

    def refuse_for_good(self) -> None:
        """The next message is not taken, now or ever."""

    def take_without_saying_so(self) -> None:
        """The next message is taken, but the sender never hears so."""

    def received(self) -> list[str]:
        """What names each message taken: its Message-ID, or its text with the reference code."""


class EmailDesk:
    """E-mail to a local mail server."""

    name: ChannelName = "email"
    recipient = ADDRESS
    answers_look_ups = False
    permanent_code = "550"

    def __init__(self, sink: MailSink) -> None:
        self.sink = sink
        self.channel: Channel = EmailChannel(
            host=sink.host,
            port=sink.port,
            starttls=False,
            username="",
            password=None,
            sender=SENDER,
            timeout_s=5.0,
        )

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


class SmsDesk:
    """SMS to a local server that answers like Twilio."""

    name: ChannelName = "sms"
    recipient = NUMBER
    answers_look_ups = True
    permanent_code = "21211"

    def __init__(self, sink: SmsSink, timeout_s: float = 5.0) -> None:
        self.sink = sink
        self.channel: Channel = SmsChannel(
            account_sid=sink.account_sid,
            auth_token=Secret(sink.auth_token),
            sender="+14155550100",
            timeout_s=timeout_s,
            base_url=sink.url,
        )

    def refuse_for_now(self) -> None:
        """429."""
        self.sink.script(TOO_MANY)

    def refuse_for_good(self) -> None:
        """400 with 21211."""
        self.sink.script(INVALID_TO)

    def take_without_saying_so(self) -> None:
        """500, although the message was taken."""
        self.sink.script(BROKEN_BUT_KEPT)

    def received(self) -> list[str]:
        """Texts."""
        return [message.body for message in self.sink.messages]


@pytest.fixture
def dial() -> Dial:
    """A clock set by hand."""
    return Dial()


@pytest.fixture
def mail_desk() -> Iterator[EmailDesk]:
    """E-mail with its server."""
    with MailSink() as sink:
        yield EmailDesk(sink)


@pytest.fixture
def sms_desk(dial: Dial) -> Iterator[SmsDesk]:
    """SMS with its server."""
    with SmsSink(auth_token=TOKEN, clock=dial) as sink:
        desk = SmsDesk(sink, timeout_s=0.5)
        yield desk
        desk.channel.close()  # type: ignore[attr-defined]


@pytest.fixture(params=["mail_desk", "sms_desk"])
def desk(request: pytest.FixtureRequest) -> Desk:
    """Each channel in turn: what both must do."""
    found: Desk = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def alert() -> Callable[..., Alert]:
    """Makes an alert; keywords change its fields."""

    def make(number: int = 1, **changes: Any) -> Alert:
        fields: dict[str, Any] = {
            "alert_id": f"alert-{number}",
            "transaction_id": f"transaction-{number}",
            "account_id": ACCOUNT,
            "event_time": 1_535_547_600_000,
            "amount": 123_450,
            "currency": "EUR",
            "action": "decline",
            "score": 0.973,
            "expected_loss": 120_117,
            "reasons": ["amount far above this account's usual", "new device"],
            "merchant_id": "merchant-9",
        }
        return Alert(**fields | changes)

    return make


@pytest.fixture
def message(alert: Callable[..., Alert], dial: Dial) -> Callable[..., Message]:
    """Makes the message of alert `number` for a desk."""
    renderer = Renderer()

    def make(desk: Desk, number: int = 1) -> Message:
        return renderer.render(alert(number), desk.name, desk.recipient, dial.now)

    return make


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger."""
    with Ledger(tmp_path / "ledger.sqlite") as opened:
        yield opened


@pytest.fixture
def lines() -> list[dict[str, Any]]:
    """What was logged."""
    return []


@pytest.fixture
def log(lines: list[dict[str, Any]]) -> Any:
    """A logger that keeps its lines."""

    def keep(_logger: Any, level: str, line: Any) -> Any:
        lines.append(line | {"level": level})
        raise structlog.DropEvent

    return structlog.wrap_logger(structlog.PrintLogger(), processors=[keep])


@pytest.fixture
def courier(ledger: Ledger, dial: Dial, log: Any) -> Callable[..., Courier]:
    """Makes the courier of a desk."""

    def make(desk: Desk, policy: RetryPolicy | None = None) -> Courier:
        return Courier(
            channel=desk.channel,
            ledger=ledger,
            policy=policy or RetryPolicy(),
            clock=dial,
            random=Random(7),  # noqa: S311, jitter needs no secrecy
            log=log,
        )

    return make


@pytest.fixture
def deliver(ledger: Ledger, dial: Dial) -> Callable[[Courier], None]:
    """Lets a courier work, turning the clock on whenever it waits, until the ledger has nothing left to try."""

    async def work(courier: Courier) -> None:
        for _ in range(10_000):
            if not ledger.unfinished():
                return
            if not await courier.step():
                dial.now += 1000
        pytest.fail("the courier never came to an end")

    return lambda courier: asyncio.run(work(courier))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL, started once; its folder is one that the server's own user can reach."""
    directory = Path(tempfile.mkdtemp(prefix="vedette-postgres-"))
    directory.chmod(0o755)
    server = PostgresServer(directory / "server", free_ports(1)[0])
    try:
        server.start()
    except UnavailableError as error:
        missing(error)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> IncidentSettings:
    """The settings of an empty database."""
    if request.param == "sqlite":
        return IncidentSettings(database=f"sqlite:///{tmp_path / 'alerts.sqlite'}")
    server: PostgresServer = request.getfixturevalue("postgres")
    settings = IncidentSettings(database=server.url)
    engine = open_database(settings)
    with engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
    engine.dispose()
    return settings


@pytest.fixture
def engine(database: IncidentSettings) -> Iterator[Engine]:
    """An open database without rows."""
    opened = open_database(database)
    yield opened
    opened.dispose()
