"""The archive process against a real broker and real storage."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import boto3
import msgspec
import pyarrow as pa
import pytest
import structlog
from deltalake import DeltaTable
from moto.server import ThreadedMotoServer

from archive.search import Archive, Question
from archive.service import run, storage_options
from stack.topics import apply
from tests.archive.conftest import Log, Publish, decision, label, payment
from tests.archive.test_features import logged
from tests.conftest import wait_for
from vedette.clock import SystemClock
from vedette.errors import StateError, UnavailableError
from vedette.settings import ArchiveSettings, Settings
from vedette.settings_base import Secret
from vedette.settings_page import describe
from vedette.topics import Name


def archive_all(settings: Settings) -> dict[str, int]:
    """Archive everything and return the rows by topic, without prefix."""
    progress = run(settings, clock=SystemClock(), log=structlog.get_logger(), stop=threading.Event(), until_idle_s=1.0)
    return {topic.removeprefix(settings.topics.prefix): rows for topic, rows in progress.rows.items()}


def table_of(settings: Settings, name: Name) -> pa.Table:
    """Return a table's rows."""
    options = storage_options(settings.archive) or None
    return DeltaTable(f"{settings.archive.url}/{name}", storage_options=options).to_pyarrow_table()


def test_each_message_is_archived_once_over_several_runs(archived: Settings, publish: Publish) -> None:
    """A run continues where the previous one ended, and unreadable messages are counted and skipped."""
    payments: Log = [(number % 4, payment(number)) for number in range(100)]
    publish(Name.TRANSACTIONS, payments[:60])
    assert archive_all(archived) == {"transactions": 60}
    publish(Name.TRANSACTIONS, payments[60:])
    publish(Name.DECISIONS, [(0, decision(payment(1), "review"))])
    publish(Name.LABELS, [(0, label(payment(1), True, 1_700_000_000_000))])
    publish(Name.FEATURES, [(0, logged(["hour"], [[1.0], [2.0]])), (1, b"not Arrow")])
    assert archive_all(archived) == {"transactions": 40, "decisions": 1, "labels": 1, "features": 2}
    assert archive_all(archived) == {}
    with Archive(archived.archive) as archive:
        rows = archive.find(Question(limit=1000)).to_pylist()
    assert sorted(row["transaction_id"] for row in rows) == sorted(f"t{number}" for number in range(100))
    assert [(row["action"], row["fraud"]) for row in rows if row["transaction_id"] == "t1"] == [("review", True)]


def test_a_topic_created_again_is_not_mistaken_for_the_old_one(archived: Settings, publish: Publish) -> None:
    """Where the topic ends before the archive's position, the archive stops and says why."""
    publish(Name.TRANSACTIONS, [(0, payment(number)) for number in range(10)])
    archive_all(archived)
    moved = msgspec.structs.replace(
        archived, topics=msgspec.structs.replace(archived.topics, prefix=archived.topics.prefix + "new-")
    )
    apply(moved)
    table = DeltaTable(f"{archived.archive.url}/transactions")
    table.create_write_transaction(
        [], "append", table.schema(), ["day"],
        commit_properties=_position(f"{moved.topics.prefix}transactions:0", 10),
    )  # fmt: skip
    with pytest.raises(StateError, match="created again"):
        archive_all(moved)


def _position(application: str, offset: int) -> object:
    from deltalake import CommitProperties, Transaction  # noqa: PLC0415, only this test writes a position by hand

    return CommitProperties(app_transactions=[Transaction(application, offset)])


def test_a_missing_topic_is_named(archived: Settings) -> None:
    """Without topics the error names one."""
    nowhere = msgspec.structs.replace(archived, topics=msgspec.structs.replace(archived.topics, prefix="nowhere-"))
    with pytest.raises(UnavailableError, match="nowhere-transactions"):
        archive_all(nowhere)


@pytest.mark.timeout(900)
def test_killed_at_any_moment_the_archive_holds_every_message_once(
    archived: Settings, publish: Publish, tmp_path: Path
) -> None:
    """Kills with SIGKILL while it archives lose no message or row, and duplicate none.

    VEDETTE_TEST_ARCHIVE_PAYMENTS=200000 is the full run, with 20 kills.
    """
    payments = int(os.environ.get("VEDETTE_TEST_ARCHIVE_PAYMENTS", "20000"))
    kills = 20 if payments >= 200_000 else 10
    publish(Name.TRANSACTIONS, [(number % 4, payment(number)) for number in range(payments)])
    batches = (logged(["hour"], [[float(row)] for row in range(10)], first=10 * number) for number in range(200))
    publish(Name.FEATURES, [(number % 4, batch) for number, batch in enumerate(batches)])
    file = tmp_path / "vedette.toml"
    file.write_text(describe(archived), encoding="utf-8")
    command = [sys.executable, "-m", "cli", "--settings", str(file), "archive", "run", "--until-idle", "2", "--json"]
    log = Path(archived.archive.url) / "transactions" / "_delta_log"
    for _ in range(kills):
        commits = len(list(log.glob("*.json"))) if log.exists() else 0
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                wait_for(
                    lambda before=commits, process=process: (  # type: ignore[misc]
                        process.poll() is not None or (log.exists() and len(list(log.glob("*.json"))) > before)
                    ),
                    within_s=120,
                )
            finally:
                process.send_signal(signal.SIGKILL)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1])["rejected"].get("transactions", 0) == 0
    rows = table_of(archived, Name.TRANSACTIONS)
    places = set(zip(rows["kafka_partition"].to_pylist(), rows["kafka_offset"].to_pylist(), strict=True))
    assert len(rows) == len(places) == len(set(rows["transaction_id"].to_pylist())) == payments
    for partition in range(4):
        offsets = sorted(offset for number, offset in places if number == partition)
        assert offsets == list(range(payments // 4)), "the topic has exactly these"
    rows = table_of(archived, Name.FEATURES)
    assert len(rows) == len(set(rows["transaction_id"].to_pylist())) == 2_000


@pytest.fixture
def bucket() -> Iterator[ArchiveSettings]:
    """An archive in a bucket of a server that speaks S3."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="k", aws_secret_access_key="s"
    )
    client.create_bucket(Bucket="archive")
    yield ArchiveSettings(
        url="s3://archive/vedette", s3_endpoint=endpoint, s3_access_key="k", s3_secret_key=Secret("s"), freshness_s=0.05
    )
    server.stop()


def test_an_object_store_holds_the_same_archive(settings: Settings, bucket: ArchiveSettings, publish: Publish) -> None:
    """The archive is written to and read from a bucket as from a folder."""
    stored = msgspec.structs.replace(settings, archive=bucket)
    publish(Name.TRANSACTIONS, [(0, payment(number)) for number in range(30)])
    publish(Name.DECISIONS, [(0, decision(payment(number), "decline")) for number in range(30)])
    assert archive_all(stored) == {"transactions": 30, "decisions": 30}
    assert archive_all(stored) == {}
    with Archive(bucket) as archive:
        found = archive.find(Question(account="a2", flagged=True)).to_pylist()
    assert {row["transaction_id"] for row in found} == {"t2", "t7", "t12", "t17", "t22", "t27"}
