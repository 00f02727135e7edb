"""A database of each kind: what holds for one must hold for both."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from alerts.database import open_database
from alerts.database.tables import metadata
from stack.postgres import PostgresServer
from stack.process import free_ports
from tests.conftest import missing
from vedette.errors import UnavailableError
from vedette.events import Alert
from vedette.settings import IncidentSettings

NOW = 1_700_000_000_000


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


@pytest.fixture
def alert() -> Callable[..., Alert]:
    """Makes an alert; keywords change its fields."""

    def make(number: int = 1, **changes: Any) -> Alert:
        fields: dict[str, Any] = {
            "alert_id": f"alert-{number}",
            "transaction_id": f"transaction-{number}",
            "account_id": "DE0212030000000020205155",
            "event_time": NOW - 60_000,
            "amount": 123_450,
            "currency": "EUR",
            "action": "decline",
            "score": 0.973,
            "expected_loss": 120_117,
            "reasons": ["new device"],
            "merchant_id": "merchant-9",
        }
        return Alert(**fields | changes)

    return make
