from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, insert, text

import adapters.database.connection as opening
from access import tables as _credentials  # noqa: F401, its tables are part of the metadata
from adapters.database import insert_new, open_database
from alerts.tables import facts, metadata
from console.accounts import tables as _accounts  # noqa: F401, as are these
from console.changes import tables as _changes  # noqa: F401, as are these
from gateway.webhooks import tables as _webhooks  # noqa: F401, as are these
from tests.conftest import wait_for
from vedette.errors import SettingsError, StateError
from vedette.settings import DatabaseSettings
from vedette.settings_base import Secret

MIGRATIONS = Path(opening.__file__).with_name("migrations")


def test_migrations_lead_to_the_tables_as_declared(engine: Engine) -> None:
    """The migrated database has exactly the tables of the code."""
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_the_newest_migration_is_the_one_that_opening_expects() -> None:
    """The constant is the head of the folder, so that no migration is forgotten."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == opening.HEAD


def test_opening_again_changes_nothing(database: DatabaseSettings) -> None:
    """What was written is still there after the database is closed and opened again."""
    first = open_database(database)
    with first.begin() as connection:
        assert insert_new(connection, facts, [{"name": "a", "value": "1"}]) == 1
    first.dispose()
    second = open_database(database)
    with second.begin() as connection:
        assert insert_new(connection, facts, [{"name": "a", "value": "2"}, {"name": "b", "value": "3"}]) == 1
        assert dict(connection.execute(facts.select()).all()) == {"a": "1", "b": "3"}
    second.dispose()


def test_a_schema_from_the_future_is_refused(database: DatabaseSettings) -> None:
    """A database that a newer Vedette has migrated is not touched."""
    engine = open_database(database)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    try:
        with pytest.raises(StateError, match="'9999'"):
            open_database(database)
    finally:
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = :head"), {"head": opening.HEAD})
        engine.dispose()


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("alerts.sqlite", "not a database URL"),
        ("sqlite://", "neither a SQLite file"),
        ("mysql://host/name", "neither a SQLite file"),
        ("postgresql://me:hidden@host/name", "contains the password"),
    ],
)
def test_an_url_that_is_no_database_is_refused(url: str, named: str) -> None:
    """The message says what is wrong, and never repeats a password."""
    with pytest.raises(SettingsError, match=named) as refused:
        open_database(DatabaseSettings(url=url))
    assert "hidden" not in str(refused.value)


def test_a_database_that_does_not_answer_is_named_without_its_password() -> None:
    """The error is one sentence with host and remedy, and without the password."""
    settings = DatabaseSettings(url="postgresql://vedette@127.0.0.1:1/x?connect_timeout=2", password=Secret("hidden"))
    with pytest.raises(StateError, match=r"127\.0\.0\.1:1") as refused:
        open_database(settings)
    assert "hidden" not in str(refused.value)


def test_a_path_that_cannot_be_a_database_is_named(tmp_path: Path) -> None:
    """A folder in its place, a file where its folder should be, or another file, is a StateError."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("not a database, but long enough to be taken for one\n" * 20)
    for path in ("folder", "file/alerts.sqlite", "file"):
        with pytest.raises(StateError, match=path):
            open_database(DatabaseSettings(url=f"sqlite:///{tmp_path / path}"))


def test_a_thread_that_writes_without_end_lets_others_write(sqlite: Engine) -> None:
    """Threads of one process take turns: a waiting thread is not passed over again and again."""
    stop, turns = Event(), [0]

    def write() -> None:
        while not stop.is_set():
            with sqlite.begin() as connection:
                for number in range(200):
                    connection.execute(insert(facts).values(name=f"{turns[0]}-{number}", value=""))
            turns[0] += 1

    with ThreadPoolExecutor(1) as pool:
        busy = pool.submit(write)
        try:
            wait_for(lambda: turns[0] > 0)
            waited = []
            for number in range(5):
                before = turns[0]
                with sqlite.begin() as connection:
                    connection.execute(insert(facts).values(name=f"other-{number}", value=""))
                    waited.append(turns[0] - before)  # within the turn: the other thread cannot get on meanwhile
        finally:
            stop.set()
        busy.result()
    assert max(waited) <= 3, waited
