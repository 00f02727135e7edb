"""Commands on a stack: each once, where no test of its room runs it."""

import base64
import json
import os
import signal
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

import pytest

from stack.process import free_ports
from streams.decode import Reject
from streams.history.control_state import read_control
from streams.publish import OutgoingMessages, ResultPublisher
from streams.topic_check import check_topics
from tests.cli.conftest import Run
from tests.conftest import ROOT, wait_for
from tests.streams.feed import Record
from vedette import Settings
from vedette.topics import Name

HEADER = "TRANSACTION_ID,TX_DATETIME,CUSTOMER_ID,TERMINAL_ID,TX_AMOUNT,TX_FRAUD,TX_FRAUD_SCENARIO\n"


@pytest.mark.runs("policy apply")
def test_a_policy_is_put_into_force(vedette: Run, settings: Settings) -> None:
    """It is on the control topic, with reason and approver."""
    policy = str(ROOT / "decisions" / "policy.yaml")
    done = vedette("policy", "apply", policy, "--reason", "first of all", "--approver", "Ada")
    assert done.returncode == 0, done.stderr
    record = read_control(settings).policy
    assert record is not None
    assert done.stdout == f"in force: {record.name}\n"
    assert (record.reason, record.approver) == ("first of all", "Ada")


@pytest.mark.runs("topics copy")
def test_topics_are_copied(vedette: Run, settings: Settings, tmp_path: Path) -> None:
    """The count of each topic is printed, and a second copy has nothing to add."""
    (tmp_path / "x.csv").write_text(HEADER + "1,2018-04-01 00:00:31,596,3156,57.16,1,1\n", encoding="utf-8")
    assert vedette("replay", "x.csv", "--mapping", "handbook", "--no-progress").returncode == 0
    for sent in (1, 0):
        done = vedette("topics", "copy", "--to", f"{settings.topics.prefix}copy.", "--partitions", "6", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["transactions"] == sent


@pytest.mark.runs("dlq list", "dlq show", "dlq replay")
def test_a_dead_letter_is_listed_shown_and_replayed(vedette: Run, settings: Settings) -> None:
    """Its id in the list leads to all of it, and once it is replayed it is not fresh."""
    publisher = ResultPublisher(settings.kafka, settings.topics.prefix, check_topics(settings))
    letter = Reject(Record(b"a1", b"{", 2, 100), "DecodeError", "is not JSON")
    publisher.wait(publisher.send(OutgoingMessages(str(Name.TRANSACTIONS), rejects=[letter])))
    (listed,) = json.loads(vedette("dlq", "list", "--json").stdout)
    assert json.loads(vedette("dlq", "show", listed["id"]).stdout) == listed
    assert (listed["reason"], listed["value"], listed["source"]) == ("is not JSON", "{", "2:100")
    assert json.loads(vedette("dlq", "replay", "--json").stdout)["chosen"] == [listed["id"]]
    assert json.loads(vedette("dlq", "list", "--fresh", "--json").stdout) == []


@pytest.mark.runs("mfa import", "mfa enrol-link", "mfa rotate")
def test_an_operator_imports_contacts_makes_a_link_and_rotates_keys(
    vedette: Run, environment: dict[str, str], tmp_path: Path
) -> None:
    """A link works for an account that was imported, and secrets that are not there need no sealing."""
    keys = f"k1:{base64.b64encode(bytes(32)).decode()}"
    environment |= {
        "VEDETTE_MFA__KEYS": keys, "VEDETTE_AUDIT__KEY": "k" * 40, "VEDETTE_DATABASE__URL": f"sqlite:///{tmp_path}/x.sqlite",
        "VEDETTE_MFA__PUBLIC_URL": "https://bank.example",
    }  # fmt: skip
    (tmp_path / "contacts.csv").write_text("account_id,email\na-1,a@bank.example\n", encoding="utf-8")
    assert vedette("mfa", "import", "contacts.csv").stdout == "1 accounts\n"
    assert vedette("mfa", "enrol-link", "a-1").stdout.startswith("https://bank.example/")
    assert vedette("mfa", "rotate").stdout == "0 secrets sealed with the first key\n"


@pytest.mark.runs("console run")
def test_the_console_answers_until_it_is_ended(environment: dict[str, str], tmp_path: Path) -> None:
    """SIGTERM ends it with exit code 0."""
    (port,) = free_ports(1)
    environment |= {
        "VEDETTE_MFA__KEYS": f"k1:{base64.b64encode(bytes(32)).decode()}", "VEDETTE_AUDIT__KEY": "k" * 40,
        "VEDETTE_DATABASE__URL": f"sqlite:///{tmp_path}/x.sqlite", "VEDETTE_CONSOLE__PORT": str(port),
        "VEDETTE_CONSOLE__PUBLIC_URL": f"http://localhost:{port}",
    }  # fmt: skip
    command = [sys.executable, "-c", "from cli.main import main; main()", "console", "run"]

    def answers() -> bool:
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(command, cwd=tmp_path, env=os.environ | environment, stdout=log, stderr=log) as console,
    ):
        try:
            wait_for(lambda: answers() or console.poll() is not None, 60)
            console.send_signal(signal.SIGTERM)
            assert console.wait(60) == 0, (tmp_path / "log").read_text()
        finally:
            console.kill()
