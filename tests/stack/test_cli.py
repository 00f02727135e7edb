import json
import os
import signal
import smtplib
import subprocess
import sys
from pathlib import Path

import pytest

from stack.state import owned, read_state, status
from tests.conftest import gone, wait_for

pytestmark = pytest.mark.servers

VEDETTE = [sys.executable, "-c", "from cli.main import main; main()"]


def vedette(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [*VEDETTE, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **(environment or {})},
    )


@pytest.mark.runs("stack up", "stack down", "stack status")
def test_detached_stack_lives_until_down(tmp_path: Path) -> None:
    """`stack up --detach` starts a stack with all topics at the printed addresses; `stack down` ends it."""
    place = ("--dir", str(tmp_path))
    up = vedette("stack", "up", "--detach", "--json", "--partitions", "2", *place)
    try:
        environment = json.loads(up.stdout)
        assert json.loads(vedette("stack", "status", "--json", *place).stdout)["status"] == "running"
        diff = vedette("topics", "diff", "--json", environment=environment)
        assert (diff.returncode, json.loads(diff.stdout)) == (0, [])
        again = vedette("stack", "up", "--detach", *place)
        assert again.returncode == 2
        assert "already running" in again.stderr
    finally:
        down = vedette("stack", "down", *place)
    assert "has ended" in down.stdout
    assert vedette("stack", "status", *place).returncode == 1
    assert not owned(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_foreground_stack_ends_in_order(number: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C, SIGTERM and a closed terminal stop both servers, and the exit code is 0."""
    with subprocess.Popen(
        [*VEDETTE, "stack", "up", "--dir", str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        printed = [process.stdout.readline().split("=")[0] for _ in range(7)]
        process.send_signal(number)
        assert process.wait(60) == 0
    assert printed == [
        "VEDETTE_IDENTITY__KEY_FILE",
        "VEDETTE_CARDS__KEY_FILE",
        "VEDETTE_CARDS__DEAD_LETTER_KEY_FILE",
        "VEDETTE_CARDS__NUMBERS",
        "VEDETTE_KAFKA__BOOTSTRAP_SERVERS",
        "VEDETTE_REDIS__URL",
        "VEDETTE_TOPICS__PARTITIONS",
    ]
    assert status(tmp_path).status == "absent"


def test_stack_up_follows_the_settings_file(tmp_path: Path) -> None:
    """The topics have the number of partitions in the settings file, unless the command gives another one."""
    (tmp_path / "vedette.toml").write_text("[topics]\npartitions = 6\n", encoding="utf-8")
    for named, wanted in (((), "6"), (("--partitions", "2"), "2")):
        place = ("--dir", str(tmp_path / wanted))
        options = ("--settings", str(tmp_path / "vedette.toml"), "stack", "up", "--detach", "--json", *place, *named)
        environment = json.loads(vedette(*options).stdout)
        vedette("stack", "down", *place)
        assert environment["VEDETTE_TOPICS__PARTITIONS"] == wanted


@pytest.mark.runs("stack mail")
def test_the_mail_server_receives_until_it_is_ended(tmp_path: Path) -> None:
    """`stack mail` prints its address, keeps what it receives, prints a line for each message, and ends in order."""
    command = [*VEDETTE, "stack", "mail", "--port", "0", "--dir", str(tmp_path / "mail")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        host, port, starttls = (process.stdout.readline().strip().split("=")[1] for _ in range(3))
        with smtplib.SMTP(host, int(port)) as client:
            client.sendmail("a@example.org", ["b@example.org"], "Subject: hello\r\n\r\ntext")
        assert process.stdout.readline() == "to b@example.org: hello\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert starttls == "false"
    assert b"Subject: hello" in (tmp_path / "mail" / "000001.eml").read_bytes()


def test_foreground_stack_reports_a_lost_server(tmp_path: Path) -> None:
    """When one of its servers ends by itself, `stack up` stops the other, says so and exits with 2."""
    with subprocess.Popen(
        [*VEDETTE, "stack", "up", "--dir", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        state = read_state(tmp_path)
        assert state is not None
        os.kill(state.redis_pid, signal.SIGKILL)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "the embedded Redis has ended" in said
    assert gone(state.broker_pid)


def test_a_killed_owner_leaves_a_stale_state_that_the_next_start_replaces(tmp_path: Path) -> None:
    """After the owner is killed, status says stale, `down` cleans up, and another start succeeds."""
    place = ("--dir", str(tmp_path))
    for ending in ("down", "up"):
        vedette("stack", "up", "--detach", *place)
        state = read_state(tmp_path)
        assert state is not None
        os.kill(state.owner, signal.SIGKILL)
        wait_for(lambda: not owned(tmp_path))
        assert vedette("stack", "status", *place).stdout.startswith("stale")
        if ending == "down":
            assert "without cleaning up" in vedette("stack", "down", *place).stdout
            assert status(tmp_path).status == "absent"
    assert vedette("stack", "up", "--detach", *place).returncode == 0
    assert "has ended" in vedette("stack", "down", *place).stdout


@pytest.mark.runs("topics apply", "topics diff")
def test_apply_and_diff_tell_by_their_exit_code(tmp_path: Path) -> None:
    """`topics diff` exits with 1 on a difference; `apply` removes it, unless it must not be changed."""
    place = ("--dir", str(tmp_path))
    environment = json.loads(vedette("stack", "up", "--detach", "--json", *place).stdout)
    try:
        other = environment | {"VEDETTE_TOPICS__PREFIX": "other."}
        assert vedette("topics", "diff", environment=other).returncode == 1
        assert vedette("topics", "apply", "--dry-run", environment=other).returncode == 0
        assert vedette("topics", "diff", environment=other).returncode == 1
        assert vedette("topics", "apply", environment=other).returncode == 0
        assert vedette("topics", "diff", environment=other).returncode == 0
        more = environment | {"VEDETTE_TOPICS__PARTITIONS": "6"}
        assert vedette("topics", "apply", environment=more).returncode == 1
    finally:
        vedette("stack", "down", *place)


@pytest.mark.runs("doctor")
def test_doctor_examines_settings_servers_model_and_policy(tmp_path: Path) -> None:
    """`doctor` exits with 1 and names exactly what is wrong: here the model and the policy, which do not exist."""
    place = ("--dir", str(tmp_path / "stack"))
    environment = json.loads(vedette("stack", "up", "--detach", "--json", *place).stdout)
    environment |= {
        "VEDETTE_DECISIONS__MODEL": str(tmp_path / "m"),
        "VEDETTE_DECISIONS__POLICY": str(tmp_path / "p.yaml"),
    }
    try:
        done = vedette("doctor", "--json", environment=environment)
    finally:
        vedette("stack", "down", *place)
    assert done.returncode == 1
    found = {check["name"]: check["ok"] for check in json.loads(done.stdout)}
    assert [name for name, ok in found.items() if not ok] == ["model", "policy"]
    assert {"settings", "broker", "topics", "redis"} <= found.keys()


def test_doctor_tells_of_bad_settings() -> None:
    """Settings that cannot be read are a finding with exit code 1, and nothing else is examined."""
    done = vedette("doctor", "--json", environment={"VEDETTE_REDIS__TIMEOUT_S": "soon"})
    (check,) = json.loads(done.stdout)
    assert (done.returncode, check["name"], check["ok"]) == (1, "settings", False)
    assert "timeout_s" in check["detail"]
