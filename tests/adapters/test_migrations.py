"""A database that an older Vedette has filled is migrated with everything in it."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, text

import adapters.database.connection as opening
from adapters.database import open_database
from alerts.incidents import store
from alerts.notify import outbox
from vedette.settings import DatabaseSettings

_OLD = """
INSERT INTO incidents (id, account_id, state, expected_loss, alerts, opened_at, updated_at, told_at)
VALUES (1, 'a', 'open', 100, 1, 5, 5, 7), (2, 'b', 'open', 200, 1, 5, 5, NULL);
INSERT INTO incident_alerts (alert_id, incident_id, body, added_at, told)
VALUES ('x', 1, {body}, 5, {true}), ('y', 2, {body}, 5, {false});
INSERT INTO facts (name, value) VALUES ('told', '2026-03-02/9');
INSERT INTO messages (subject, incident_id, recipient, channel, status, due_at, body, created_at, updated_at)
VALUES ('1:x', 1, 'desk', 'email', 'pending', 5, {body}, 5, 5);
INSERT INTO receipts (sid, status, received_at) VALUES ('SM1', 'delivered', 5);
"""
_LITERALS = {
    "sqlite": {"true": "1", "false": "0", "body": "CAST('{}' AS BLOB)"},
    "postgresql": {"true": "true", "false": "false", "body": "CAST('{}' AS bytea)"},
}


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DatabaseSettings]:
    """A database without any table, of each kind in turn."""
    if request.param == "sqlite":
        yield DatabaseSettings(url=f"sqlite:///{tmp_path / 'old.sqlite'}")
        return
    url: str = request.getfixturevalue("postgres")
    name = f"old_{uuid.uuid4().hex[:8]}"
    admin = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        try:
            yield DatabaseSettings(url=url.rpartition("/")[0] + f"/{name}")
        finally:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


def migrate(settings: DatabaseSettings, revision: str) -> Engine:
    """Return an engine on the database, migrated to a revision."""
    engine = opening._engine(settings)
    config = Config()
    config.set_main_option("script_location", str(Path(opening.__file__).with_name("migrations")))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    return engine


def test_what_an_old_database_holds_is_kept_under_its_new_names(empty: DatabaseSettings) -> None:
    """Past notifications, the day's budget and pending messages survive; nobody is notified twice."""
    engine = migrate(empty, "0003")
    with engine.begin() as connection:
        for statement in _OLD.format(**_LITERALS[engine.dialect.name]).split(";")[:-1]:
            connection.exec_driver_sql(statement)
    engine.dispose()

    engine = open_database(empty)
    with engine.begin() as connection:
        assert [store.get(connection, number).notified_at for number in (1, 2)] == [7, None]
        rows = connection.execute(text("SELECT alert_id, notified FROM incident_alerts ORDER BY alert_id")).all()
        assert [(row.alert_id, bool(row.notified)) for row in rows] == [("x", True), ("y", False)]
        assert connection.execute(text("SELECT name, value FROM facts")).all() == [("notified", "2026-03-02/9")]
        (message,) = outbox.listing(connection, ["pending"], 5)
        assert (message.subject, message.urgent) == ("1:x", False)
        assert connection.execute(text("SELECT code FROM receipts")).scalar_one() == ""
    engine.dispose()
