"""What tests of alerts share: a clock set by hand, databases of both kinds, and every channel with a real server."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
import structlog
from sqlalchemy import Engine

from alerts.database import open_database
from alerts.database.tables import metadata
from alerts.notify import outbox
from alerts.notify.courier import Courier
from alerts.notify.message import Message, reference_of
from alerts.notify.sender import RetryPolicy
from stack.postgres import PostgresServer
from stack.process import free_ports
from tests.alerts.desks import (
    AppriseDesk,
    Desk,
    EmailDesk,
    SmsDesk,
    SnsDesk,
    WebhookDesk,
    WhatsAppDesk,
)
from tests.conftest import missing
from vedette.errors import UnavailableError
from vedette.events import Alert
from vedette.settings import IncidentSettings

NOW = 1_700_000_000_000
ACCOUNT = "DE0212030000000020205155"
DESKS: dict[str, Callable[..., Desk]] = {
    desk.name: desk for desk in (EmailDesk, SmsDesk, WhatsAppDesk, WebhookDesk, SnsDesk, AppriseDesk)
}


class Dial:
    """A clock set by hand."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def now_ms(self) -> int:
        """The time it was set to."""
        return self.now


@pytest.fixture
def dial() -> Dial:
    """A clock set by hand."""
    return Dial()


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
    """An open database without rows, of each kind in turn."""
    opened = open_database(database)
    yield opened
    opened.dispose()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Engine]:
    """An open SQLite database without rows, where the kind makes no difference."""
    opened = open_database(IncidentSettings(database=f"sqlite:///{tmp_path / 'alerts.sqlite'}"))
    yield opened
    opened.dispose()


@pytest.fixture
def alert() -> Callable[..., Alert]:
    """Makes an alert; keywords change its fields."""

    def make(number: int = 1, **changes: Any) -> Alert:
        fields: dict[str, Any] = {
            "alert_id": f"alert-{number}",
            "transaction_id": f"transaction-{number}",
            "account_id": ACCOUNT,
            "event_time": NOW - 60_000,
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


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    """Moto's server, which answers like AWS, started once."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415, a second that other tests need not pay

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=list(DESKS))
def desk(request: pytest.FixtureRequest, dial: Dial) -> Iterator[Desk]:
    """Each channel in turn, with its server: what all must do."""
    more = (request.getfixturevalue("moto_url"),) if request.param == "sns" else ()
    with DESKS[request.param](dial, *more) as opened:
        yield opened


@pytest.fixture
def sms_desk(dial: Dial) -> Iterator[SmsDesk]:
    """SMS with its server."""
    with SmsDesk(dial) as opened:
        yield opened


@pytest.fixture
def message(dial: Dial) -> Callable[..., Message]:
    """Makes message `number` for a desk."""

    def make(desk: Desk, number: int = 1) -> Message:
        reference = reference_of(f"message-{number}")
        return Message(
            key=f"message-{number}", recipient=f"{desk.name}-desk", channel=desk.name, reference=reference,
            created_at=dial.now, incident=7, subject=f"[Vedette] message {number}",
            text=f"Vedette says something. Ref {reference}", html="<p>Vedette says something.</p>",
            data=f'{{"reference": "{reference}"}}',
        )  # fmt: skip

    return make


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
def deliver(sqlite: Engine, dial: Dial, log: Any) -> Callable[..., None]:
    """Puts messages into the outbox and lets a courier work until nothing is left to try.

    The clock goes on whenever the courier has nothing to do.
    """

    def left() -> int:
        with sqlite.connect() as connection:
            return outbox.unfinished(connection)

    async def work(desk: Desk, policy: RetryPolicy, parallel: int) -> None:
        async with opened(desk) as channel:
            courier = Courier(
                channel=channel, targets={f"{desk.name}-desk": desk.target}, engine=sqlite, policy=policy,
                parallel=parallel, clock=dial, random=Random(7), log=log,  # noqa: S311, jitter needs no secrecy
            )  # fmt: skip
            for _ in range(10_000):
                if not left():
                    return
                if not await courier.step():
                    dial.now += 1000
        pytest.fail("the courier never came to an end")

    def run(desk: Desk, *messages: Message, policy: RetryPolicy | None = None, parallel: int = 1) -> None:
        with sqlite.begin() as connection:
            outbox.add(connection, [(each, dial.now) for each in messages], dial.now)
        asyncio.run(work(desk, policy or RetryPolicy(), parallel))

    return run


@asynccontextmanager
async def opened(desk: Desk) -> AsyncIterator[Any]:
    """The desk's channel, closed at the end in the loop that used it."""
    channel = desk.channel()
    try:
        yield channel
    finally:
        await channel.close()
