from collections.abc import Iterator

import psutil
import pytest
import redis

from stack.process import free_ports
from stack.redis_server import RedisServer
from tests.conftest import missing
from vedette.errors import UnavailableError

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module", params=["embedded", "system"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Each kind of Redis, which the tests here may kill."""
    server = RedisServer(request.param, tmp_path_factory.mktemp("redis"), free_ports(1)[0])
    try:
        server.start()
    except UnavailableError as error:
        missing(error)
    yield server
    server.stop()


def test_acknowledged_writes_survive_a_kill(server: RedisServer, topic_prefix: str) -> None:
    """After SIGKILL and restart, Redis is another process on the same port with every acknowledged write."""
    url, pid = server.url, server.pid
    with redis.Redis.from_url(url) as client:
        client.set(topic_prefix, b"before")
    server.kill()
    assert not server.running
    server.restart()
    assert (server.url, server.pid != pid) == (url, True)
    with redis.Redis.from_url(url) as client:
        assert client.get(topic_prefix) == b"before"


def test_nothing_is_evicted_and_everything_is_logged(server: RedisServer) -> None:
    """Redis writes to an append-only file before it answers, and refuses writes rather than evicting keys."""
    with redis.Redis.from_url(server.url) as client:
        assert client.info("persistence")["aof_enabled"] == 1
        assert client.config_get("appendfsync") == {"appendfsync": "always"}
        assert client.info("memory")["maxmemory_policy"] == "noeviction"


def test_only_this_machine_can_connect(server: RedisServer) -> None:
    """Redis listens only on 127.0.0.1."""
    listening = {
        (connection.laddr.ip, connection.laddr.port)
        for connection in psutil.Process(server.pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {("127.0.0.1", server.port)}


def test_a_stopped_redis_has_no_process(server: RedisServer) -> None:
    """Once stopped, Redis neither answers nor has a process id, and stopping it again is not an error."""
    server.stop()
    with pytest.raises(UnavailableError, match="is not running"):
        _ = server.pid
    with pytest.raises(UnavailableError, match="does not answer"):
        server.ping(1)
    server.stop()
    server.start()
