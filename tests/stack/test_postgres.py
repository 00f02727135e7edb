import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from stack.postgres import PostgresServer
from stack.process import free_ports
from tests.conftest import gone, missing, wait_for
from vedette.errors import UnavailableError

pytestmark = pytest.mark.servers


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server in a folder that its own user can read, stopped at the end."""
    directory = Path(tempfile.mkdtemp(prefix="vedette-postgres-"))
    directory.chmod(0o755)
    made = PostgresServer(directory / "server", free_ports(1)[0])
    try:
        made.start()
    except UnavailableError as error:
        missing(error)
    yield made
    made.stop()
    shutil.rmtree(directory)


def test_postgres_keeps_its_data_through_a_kill_and_leaves_no_process(server: PostgresServer) -> None:
    """Committed rows survive SIGKILL and a start on the same port, and a stop ends the process."""
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    server.kill()
    server.start()
    with psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT number FROM kept").fetchone() == (7,)
    pid = server.pid
    server.stop()
    wait_for(lambda: gone(pid))
