import socket
from pathlib import Path

import pytest

from stack.broker import BrokerKind
from stack.local import LocalStack
from stack.process import free_ports
from stack.redis_server import RedisKind
from stack.state import StackStatus, read_state, status
from vedette.errors import StateError, UnavailableError

pytestmark = pytest.mark.servers


def test_a_second_start_in_the_same_directory_is_refused(tmp_path: Path) -> None:
    """Only one stack runs in a directory; the refusal names the owner, and the first stack goes on."""
    with LocalStack(tmp_path) as first:
        with pytest.raises(UnavailableError, match="already running"), LocalStack(tmp_path):
            pass
        first.broker.ping(5)
        assert status(tmp_path).status == "running"


def test_stacks_run_side_by_side(tmp_path: Path) -> None:
    """Stacks in different directories have different ports."""
    with LocalStack(tmp_path / "a") as first, LocalStack(tmp_path / "b") as second:
        ports = {first.broker.port, first.redis.port, second.broker.port, second.redis.port}
    assert len(ports) == 4


def test_ports_can_be_chosen(tmp_path: Path) -> None:
    """The servers listen on the requested ports, and stack.json contains them."""
    kafka_port, redis_port = free_ports(2)
    with LocalStack(tmp_path, kafka_port=kafka_port, redis_port=redis_port) as stack:
        state = read_state(tmp_path)
        assert state is not None
        assert stack.bootstrap_servers == state.bootstrap_servers == f"127.0.0.1:{kafka_port}"
        assert stack.redis_url == state.redis_url == f"redis://127.0.0.1:{redis_port}/0"


def test_a_taken_port_is_told_and_leaves_nothing_running(tmp_path: Path) -> None:
    """If the broker's port is in use, the error says so, Redis is stopped again, and the directory is free."""
    kafka_port, redis_port = free_ports(2)
    stack = LocalStack(tmp_path, kafka_port=kafka_port, redis_port=redis_port)
    with socket.create_server(("127.0.0.1", kafka_port)), pytest.raises(UnavailableError, match=f"{kafka_port}.*use"):
        stack.start()
    assert not stack.redis.running
    assert status(tmp_path) == StackStatus(status="absent")


def test_a_server_that_ends_at_once_shows_its_log(tmp_path: Path) -> None:
    """If a server cannot start, the error has the end of its log."""
    data = tmp_path / "redis-embedded" / "data"
    data.mkdir(parents=True)
    (data / "appendonly.aof").write_bytes(b"this is not an append-only file")
    with pytest.raises(UnavailableError, match="Bad file format"):
        LocalStack(tmp_path).start()


def test_a_stopped_stack_leaves_no_state(tmp_path: Path) -> None:
    """After stop() the directory counts as unused, and the stack can be started again."""
    stack = LocalStack(tmp_path)
    for _ in range(2):
        stack.start()
        stack.stop()
        assert status(tmp_path).status == "absent"


def test_state_of_another_making_is_told(tmp_path: Path) -> None:
    """The error names a stack.json that Vedette cannot read, and the remedy."""
    (tmp_path / "stack.json").write_text("{}", encoding="utf-8")
    with pytest.raises(StateError, match=r"stack\.json.*delete it"):
        status(tmp_path)


@pytest.mark.parametrize(
    ("broker", "redis", "remedy"),
    [("apache", "embedded", "install-test-deps"), ("embedded", "system", "install-test-deps")],
)
def test_a_missing_part_comes_with_its_remedy(
    broker: BrokerKind, redis: RedisKind, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Kafka's jars or the system's redis-server are not installed, the error says how to get them."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match=remedy):
        LocalStack(tmp_path / "stack", broker, redis, kafka_home=tmp_path / "nothing").start()
    assert status(tmp_path / "stack").status == "absent"
