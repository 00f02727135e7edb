"""The archive as a service that survives trouble with its storage, and reports it."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import requests
from fastapi.testclient import TestClient

from adapters.http_server import Readiness
from archive.endpoint import make_app
from archive.search import Archive, Question
from archive.service import Progress
from stack.process import free_ports
from tests.archive.conftest import Publish, payment
from tests.conftest import wait_for
from vedette.settings import Settings
from vedette.settings_page import describe
from vedette.topics import Name


@pytest.fixture
def service(archived: Settings, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """`vedette archive run` on a storage that is not usable at first, and its address."""
    (port,) = free_ports(1)
    settings = msgspec.structs.replace(archived, archive=msgspec.structs.replace(archived.archive, metrics_port=port))
    file = tmp_path / "vedette.toml"
    file.write_text(describe(settings), encoding="utf-8")
    Path(archived.archive.url).write_text("a file where a folder should be", encoding="utf-8")
    command = [sys.executable, "-m", "cli", "--settings", str(file), "archive", "run"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        yield process, f"http://127.0.0.1:{port}"
        process.kill()


def ask(url: str) -> tuple[int, str]:
    """Return status and body; 0 while nothing answers."""
    try:
        answer = requests.get(url, timeout=5)
    except requests.ConnectionError:
        return 0, ""
    return answer.status_code, answer.text


@pytest.mark.runs("archive run")
def test_the_service_waits_for_its_storage_and_then_archives(
    service: tuple[subprocess.Popen[bytes], str], archived: Settings, publish: Publish
) -> None:
    """Without storage it answers, is not ready and says why; with storage, it continues by itself and counts."""
    process, url = service
    publish(Name.TRANSACTIONS, [(number % 4, payment(number)) for number in range(20)])
    wait_for(lambda: archived.archive.url in ask(url + "/readyz")[1], 90)
    assert (ask(url + "/readyz")[0], ask(url + "/healthz")[0]) == (503, 200)
    Path(archived.archive.url).unlink()
    topic = archived.topics.prefix + Name.TRANSACTIONS
    wait_for(lambda: f'vedette_archive_rows_total{{topic="{topic}"}} 20.0' in ask(url + "/metrics")[1], 90)
    wait_for(lambda: ask(url + "/readyz") == (200, json.dumps({"missing": {}}, separators=(",", ":"))))
    wait_for(lambda: f'vedette_archive_lag_messages{{topic="{topic}"}} 0.0' in ask(url + "/metrics")[1])
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    with Archive(archived.archive) as archive:
        assert len(archive.find(Question())) == 20


def test_metrics_say_how_far_the_archive_is() -> None:
    """They give rows, rejected messages and lag by topic, the backlog, and the time of the last commit in seconds."""
    progress = Progress(
        rows={"decisions": 5}, rejected={"decisions": 1}, lag={"decisions": 7}, committed_at=1_500, waiting=3
    )
    with TestClient(make_app(progress, Readiness(), None), base_url="http://localhost") as client:
        lines = [line for line in client.get("/metrics").text.splitlines() if not line.startswith("#")]
    assert set(lines) == {
        'vedette_archive_rows_total{topic="decisions"} 5.0',
        'vedette_archive_rejected_total{topic="decisions"} 1.0',
        'vedette_archive_lag_messages{topic="decisions"} 7.0',
        "vedette_archive_waiting_messages 3.0",
        "vedette_archive_last_commit_timestamp_seconds 1.5",
        "vedette_ready 1.0",
    }
