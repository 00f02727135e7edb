import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from stack.process import Child, free_ports, port_is_free
from stack.state import owned, read_state
from tests.conftest import gone, missing, wait_for
from vedette.errors import UnavailableError

pytestmark = pytest.mark.servers

OWNER = """
import json, sys, time
from pathlib import Path
from stack.local import LocalStack
from vedette.errors import UnavailableError
try:
    with LocalStack(Path(sys.argv[1]), sys.argv[2], sys.argv[3]):
        print("ready", flush=True)
        time.sleep(600)
except UnavailableError as error:
    print(json.dumps([error.args[0], error.remedy]), flush=True)
"""


@pytest.mark.parametrize(
    ("broker", "redis"), [("embedded", "embedded"), pytest.param("apache", "system", marks=pytest.mark.kafka)]
)
def test_servers_end_with_a_killed_parent(broker: str, redis: str, tmp_path: Path) -> None:
    """When the process that started a stack is killed with SIGKILL, both servers end and free the directory."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path), broker, redis], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        said = owner.stdout.readline().strip()
        if said != "ready":
            message, remedy = json.loads(said)
            missing(UnavailableError(message, remedy=remedy))
        state = read_state(tmp_path)
        assert state is not None
        assert not gone(state.broker_pid)
        assert not gone(state.redis_pid)
        owner.kill()
    wait_for(lambda: gone(state.broker_pid) and gone(state.redis_pid))
    wait_for(lambda: not owned(tmp_path))


def test_a_child_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    """stop() ends a process that does not react to SIGTERM by SIGKILL."""
    log = tmp_path / "log"
    child = Child(["/bin/sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.05; done"], log=log)
    wait_for(lambda: log.read_text(encoding="utf-8") == "deaf\n")
    child.stop(within_s=0.2)
    assert child.exit_code(within_s=0) == -signal.SIGKILL


def test_the_exit_code_is_known(tmp_path: Path) -> None:
    """A child that has ended is not running, and has an exit code."""
    child = Child(["/bin/sh", "-c", "exit 7"], log=tmp_path / "log")
    assert child.exit_code(within_s=20) == 7
    assert not child.running


def test_free_ports_are_free_different_and_none_to_avoid() -> None:
    """Assigned ports are distinct, below the range of outgoing connections, and not in use."""
    first = free_ports(3)
    assert len(set(first)) == 3
    assert all(20_000 <= port < 32_000 for port in first)
    assert not set(first) & set(free_ports(3, avoid=first))
    with socket.create_server(("127.0.0.1", first[0])):
        assert not port_is_free(first[0])
        assert first[0] not in free_ports(3)


def test_no_port_is_given_out_twice() -> None:
    """A server that does not listen yet keeps its port."""
    first, second = free_ports(3), free_ports(3)
    assert not {*first} & {*second}
