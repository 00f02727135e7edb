"""`vedette demo` as a user runs it: in a process of its own, from a folder that is not the repository."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.conftest import gone, wait_for

pytestmark = pytest.mark.slow

START_WITHIN_S = 240.0  # a first run compiles the kernels
END_WITHIN_S = 120.0

Demo = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    """Starts `vedette demo` with these arguments; its data and logs are in tmp_path/demo."""

    def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [
                *(sys.executable, "-c", "from cli.main import main; main()", "demo"),
                *("--dir", str(tmp_path / "demo"), *arguments),
            ],
            env=os.environ | environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def children(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """All processes below it."""
    return psutil.Process(process.pid).children(recursive=True)


def wait_for_mail(process: subprocess.Popen[str], directory: Path) -> None:
    """Return once the first e-mail about an alert has arrived."""
    mails = directory / "demo" / "mails"
    wait_for(lambda: any(mails.glob("*.eml")) or process.poll() is not None, START_WITHIN_S)
    assert process.poll() is None, process.communicate()


def last_line(out: str) -> dict[str, Any]:
    """The JSON that a demo ends with."""
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def test_demo_proves_its_sums(demo: Demo) -> None:
    """Each transaction is decided once, each alert told once, all poison set aside, whatever the environment says."""
    process = demo("--transactions", "3000", "--exit", "--json", VEDETTE_KAFKA__BOOTSTRAP_SERVERS="127.0.0.1:1")
    out, err = process.communicate(timeout=START_WITHIN_S)
    assert process.returncode == 0, err
    sums = last_line(out)
    assert sums["published"] == sums["decisions"] == sums["unique_decisions"] == 3000
    assert sums["alerts"] == sums["told"] >= sums["incidents"] > 0
    assert sums["emails"] == sums["sms"] >= sums["incidents"]
    assert sums["dlq"] == 7
    assert 0 < sums["latency_ms"]["p50"] <= sums["latency_ms"]["p99"]
    # The seed fixes transactions, features and scores: most frauds of this stream are caught, with few false alarms.
    assert sums["recall"] > 0.6
    assert sums["precision"] > 0.6


def test_demo_customers_settle_every_challenge(demo: Demo, tmp_path: Path) -> None:
    """Where the policy asks the customer about all that it flags, frauds are denied and everything else is approved."""
    policy = yaml.safe_load((Path(__file__).parents[2] / "streams" / "policy.yaml").read_text(encoding="utf-8"))
    policy["thresholds"] = {"challenge": policy["thresholds"]["challenge"]}
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(policy), encoding="utf-8")
    process = demo(
        *("--transactions", "3000", "--exit", "--json"), VEDETTE_WORKER__POLICY=str(tmp_path / "policy.yaml")
    )
    out, err = process.communicate(timeout=START_WITHIN_S)
    assert process.returncode == 0, err
    sums = last_line(out)
    asked = sums["challenges"]
    assert asked["asked"] == sums["flagged"] > 0
    assert asked["declined"] == round(sums["precision"] * sums["flagged"]) > 0
    assert asked["approved"] == asked["asked"] - asked["declined"]
    assert sums["alerts"] == asked["asked"] + asked["declined"]


def test_demo_streams_a_file_behind_its_history(demo: Demo, tmp_path: Path) -> None:
    """Only what lies between --from and --to is published; what does not fit the mapping is left out."""
    rows = [
        f"{day * 24 + hour},2018-04-{day:02} {hour:02}:00:00,{hour},7,{'much' if hour == 5 else 9.5},{int(hour == 3)},0"
        for day in range(1, 12)
        for hour in range(24)
    ]
    header = "TRANSACTION_ID,TX_DATETIME,CUSTOMER_ID,TERMINAL_ID,TX_AMOUNT,TX_FRAUD,TX_FRAUD_SCENARIO"
    (tmp_path / "file.csv").write_text("\n".join([header, *rows]), encoding="utf-8")
    process = demo(
        *("--input", "file.csv", "--mapping", "handbook", "--from", "2018-04-10", "--to", "2018-04-11"),
        *("--exit", "--json"),
    )
    out, err = process.communicate(timeout=START_WITHIN_S)
    assert process.returncode == 0, err
    sums = last_line(out)
    assert (sums["published"], sums["decisions"], sums["frauds"], sums["dlq"]) == (23, 23, 1, 7)
    assert "207 earlier transactions are in the features' state" in err


def test_killed_worker_is_told_and_fails_the_demo(demo: Demo, tmp_path: Path) -> None:
    """When the worker is gone the sums cannot be right: one sentence says so, the exit code is 1, nothing stays."""
    process = demo("--rate", "200", "--json")
    wait_for_mail(process, tmp_path)
    started = children(process)
    (worker,) = [child for child in started if child.cmdline()[-1:] == ["worker"]]
    worker.kill()
    out, err = process.communicate(timeout=END_WITHIN_S)
    assert process.returncode == 1, err
    sums = last_line(out)
    assert sums["published"] > sums["unique_decisions"]
    sentence = err.splitlines()[-1]
    assert sentence.startswith("vedette: vedette worker has ended with exit code -9")
    assert f"{tmp_path / 'demo'}" in sentence
    wait_for(lambda: all(gone(child.pid) for child in started))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_everything_in_order(demo: Demo, tmp_path: Path, number: signal.Signals) -> None:
    """What was published by then is decided and told, the sums are printed and right, and no process stays."""
    process = demo("--rate", "200")
    wait_for_mail(process, tmp_path)
    started = children(process)
    process.send_signal(number)
    out, err = process.communicate(timeout=END_WITHIN_S)
    assert process.returncode == 0, err
    assert "transactions published" in out
    assert len(started) >= 5  # broker, Redis, worker, notifier, challenges
    wait_for(lambda: all(gone(child.pid) for child in started))


def test_options_that_contradict_are_refused(demo: Demo, tmp_path: Path) -> None:
    """A mapping without a file, and a directory with something in it, are told before anything is started."""
    process = demo("--mapping", "handbook", "--exit")
    assert "add --input FILE" in process.communicate(timeout=END_WITHIN_S)[1]
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "thesis.txt").touch()
    again = demo("--exit")
    assert "is not empty" in again.communicate(timeout=END_WITHIN_S)[1]
    assert (process.returncode, again.returncode) == (2, 2)
    assert [path.name for path in (tmp_path / "demo").iterdir()] == ["thesis.txt"]
