"""`vedette demo` as a user runs it: in a separate process, from a folder outside the repository."""

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
    """Return all processes below it."""
    return psutil.Process(process.pid).children(recursive=True)


def wait_for_mail(process: subprocess.Popen[str], directory: Path) -> None:
    """Return once the first e-mail about an alert has arrived."""
    mails = directory / "demo" / "mails"
    wait_for(lambda: any(mails.glob("*.eml")) or process.poll() is not None, START_WITHIN_S)
    assert process.poll() is None, process.communicate()


def last_line(out: str) -> dict[str, Any]:
    """Return the JSON that a demo ends with."""
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def test_demo_proves_its_totals(demo: Demo) -> None:
    """Each transaction is decided once, each alert notified once, all poison dead-lettered, in any environment."""
    process = demo("--transactions", "3000", "--exit", "--json", VEDETTE_KAFKA__BOOTSTRAP_SERVERS="127.0.0.1:1")
    out, err = process.communicate(timeout=START_WITHIN_S)
    assert process.returncode == 0, err
    totals = last_line(out)
    assert totals["published"] == totals["decisions"] == totals["unique_decisions"] == 3000
    assert totals["alerts"] == totals["notified"] >= totals["incidents"] > 0
    assert totals["emails"] == totals["sms"] >= totals["incidents"]
    assert totals["dlq"] == 7
    assert 0 < totals["latency_ms"]["p50"] <= totals["latency_ms"]["p99"]
    # The seed fixes transactions, features and scores: most frauds of this stream are caught, with few false alarms.
    assert totals["recall"] > 0.6
    assert totals["precision"] > 0.6


def test_demo_customers_settle_every_challenge(demo: Demo, tmp_path: Path) -> None:
    """Where the policy challenges everything that it flags, frauds are denied and all else is approved."""
    policy = yaml.safe_load((Path(__file__).parents[2] / "decisions" / "policy.yaml").read_text(encoding="utf-8"))
    policy["thresholds"] = {"challenge": policy["thresholds"]["challenge"]}
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(policy), encoding="utf-8")
    process = demo(
        *("--transactions", "3000", "--exit", "--json"), VEDETTE_DECISIONS__POLICY=str(tmp_path / "policy.yaml")
    )
    out, err = process.communicate(timeout=START_WITHIN_S)
    assert process.returncode == 0, err
    totals = last_line(out)
    asked = totals["challenges"]
    assert asked["asked"] == totals["flagged"] > 0
    assert asked["declined"] == round(totals["precision"] * totals["flagged"]) > 0
    assert asked["approved"] == asked["asked"] - asked["declined"]
    assert totals["alerts"] == asked["asked"] + asked["declined"]


def test_demo_streams_a_file_behind_its_history(demo: Demo, tmp_path: Path) -> None:
    """Only rows between --from and --to are published; rows that do not fit the mapping are left out."""
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
    totals = last_line(out)
    assert (totals["published"], totals["decisions"], totals["frauds"], totals["dlq"]) == (23, 23, 1, 7)
    assert "207 earlier transactions are in the features' state" in err


def test_killed_worker_is_named_and_fails_the_demo(demo: Demo, tmp_path: Path) -> None:
    """Without the worker totals are not consistent: one sentence says so, the exit code is 1, no process remains."""
    process = demo("--rate", "200", "--json")
    wait_for_mail(process, tmp_path)
    started = children(process)
    (worker,) = [child for child in started if child.cmdline()[-1:] == ["worker"]]
    worker.kill()
    out, err = process.communicate(timeout=END_WITHIN_S)
    assert process.returncode == 1, err
    totals = last_line(out)
    assert totals["published"] > totals["unique_decisions"]
    sentence = err.splitlines()[-1]
    assert sentence.startswith("vedette: vedette worker has ended with exit code -9")
    assert f"{tmp_path / 'demo'}" in sentence
    wait_for(lambda: all(gone(child.pid) for child in started))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_everything_in_order(demo: Demo, tmp_path: Path, number: signal.Signals) -> None:
    """What was published by then is decided and notified, the totals are printed and right, and no process remains."""
    process = demo("--rate", "200")
    wait_for_mail(process, tmp_path)
    started = children(process)
    process.send_signal(number)
    out, err = process.communicate(timeout=END_WITHIN_S)
    assert process.returncode == 0, err
    assert "transactions published" in out
    assert len(started) >= 5  # broker, Redis, worker, notifier, challenges
    wait_for(lambda: all(gone(child.pid) for child in started))


@pytest.mark.runs("demo")
def test_ctrl_c_before_the_stream_leaves_nothing(demo: Demo, tmp_path: Path) -> None:
    """Interrupted while the history is processed, the demo ends every process it started, without a traceback."""
    process = demo()
    log = tmp_path / "demo" / "mfa.log"
    wait_for(lambda: log.exists() or process.poll() is not None, START_WITHIN_S)
    started = children(process)
    assert len(started) >= 4  # broker, Redis, notifier, challenges
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=END_WITHIN_S)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    wait_for(lambda: all(gone(child.pid) for child in started))


def test_a_reader_that_goes_away_does_not_end_the_demo(demo: Demo) -> None:
    """When standard error is closed at the other end, the stream continues and the totals are on standard output."""
    with demo("--transactions", "500", "--exit", "--json") as process:
        assert process.stderr
        process.stderr.readline()
        process.stderr.close()
        assert process.stdout
        totals = last_line(process.stdout.read())
        assert process.wait(END_WITHIN_S) == 0
    assert totals["published"] == totals["unique_decisions"] == 500


def test_options_that_contradict_are_refused(demo: Demo, tmp_path: Path) -> None:
    """A mapping without a file, and a directory that is not empty, are refused before anything is started."""
    process = demo("--mapping", "handbook", "--exit")
    assert "add --input FILE" in process.communicate(timeout=END_WITHIN_S)[1]
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "thesis.txt").touch()
    again = demo("--exit")
    assert "is not empty" in again.communicate(timeout=END_WITHIN_S)[1]
    assert (process.returncode, again.returncode) == (2, 2)
    assert [path.name for path in (tmp_path / "demo").iterdir()] == ["thesis.txt"]
