"""Throughput and query latency of the archive, and its use of space and memory."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import msgspec
import numpy as np
import pyarrow as pa
from deltalake import DeltaTable

from adapters.kafka_producer import KafkaProducer
from bench.archive_history import START, HistoryPlan, account_id, write_history
from bench.environment import BenchEnvironment, environment
from bench.measurement import Measurement, Setup
from vedette import VedetteError
from vedette.clock import DAY
from vedette.events import Decision
from vedette.settings import ArchiveSettings
from vedette.topics import Name

_QUESTIONS = 100
_PER_ACCOUNT = 50
_PROOFS = 20
_ASK, _DECIDE = "bench.archive_questions", "bench.archive_proofs"


@dataclass(frozen=True)
class ArchiveFigures(Measurement):
    """Results of the benchmark.

    Attributes:
        rows: Payments in the archive that was asked.
        ingest_per_s: Decisions per second from a broker into the archive.
        account_history_ms_p95: 95th percentile for all payments of an account.
        flagged_day_ms_p95: Likewise for the newest flagged payments of a day.
        prove_ms_p95: Likewise for making a decision again from all events before it, compared bit for bit.
        bytes_per_payment: Bytes of storage of a payment with its decision and its share of labels.
        compaction_s: Seconds for merging the files of all days.
        peak_rss: Largest memory of any of the archive's processes, bytes.
    """

    rows: int
    ingest_per_s: float
    account_history_ms_p95: float
    flagged_day_ms_p95: float
    prove_ms_p95: float
    bytes_per_payment: float
    compaction_s: float
    peak_rss: int


def measure(setup: Setup, *, payments: int, decisions: int, days: int, show: Callable[[int], None]) -> ArchiveFigures:
    """Archive decisions from a broker; then write a history, compact it, and ask it.

    Args:
        setup: Where, and which broker.
        payments: Of the history.
        decisions: To archive from the broker.
        days: Length of the history.
        show: Called with the number of payments of the history written so far.
    """
    setup.say(f"archiving {decisions:,} decisions from a broker")
    per_s, ingest_rss = _ingest(setup, decisions)
    settings = ArchiveSettings(url=str(setup.directory / "history"))
    plan = HistoryPlan(payments, max(payments // _PER_ACCOUNT, 1), days, _PROOFS)
    setup.say(f"writing {payments:,} payments with decisions and labels")
    undecided = write_history(settings, plan, show)
    setup.say(f"deciding {len(undecided)} of them")
    _run(["-m", _DECIDE, *undecided], _environment(settings))
    setup.say("compacting")
    started = time.perf_counter()
    _, compact_rss = _run(["-m", "cli", "archive", "compact"], _environment(settings))
    compaction_s = time.perf_counter() - started
    stored = sum(file.stat().st_size for file in _newest_files(settings))
    setup.say("asking")
    output, ask_rss = _run(["-m", _ASK, _questions(plan, undecided)], _environment(settings))
    answers = json.loads(output)
    return ArchiveFigures(
        rows=payments,
        ingest_per_s=round(per_s),
        account_history_ms_p95=round(float(np.percentile(answers["account_ms"], 95)), 1),
        flagged_day_ms_p95=round(float(np.percentile(answers["day_ms"], 95)), 1),
        prove_ms_p95=round(float(np.percentile(answers["prove_ms"], 95)), 1),
        bytes_per_payment=round(stored / payments, 1),
        compaction_s=round(compaction_s, 1),
        peak_rss=max(ingest_rss, compact_rss, ask_rss),
    )


def _ingest(setup: Setup, count: int) -> tuple[float, int]:
    """Archive decisions that are already on a broker; per second, and the memory of the process in bytes."""
    with environment(setup) as bench:
        _publish(bench, count)
        archive = ArchiveSettings(url=str(setup.directory / "ingest"), freshness_s=1.0)
        output, rss = _run(
            ["-m", "cli", "archive", "run", "--until-idle", "3", "--json"], bench.environment | _environment(archive)
        )
    done = json.loads(output.splitlines()[-1])
    if (found := done["rows"].get(bench.settings.topics.prefix + Name.DECISIONS)) != count:
        raise VedetteError(f"{found} of {count} decisions were archived")
    return count / done["seconds"], rss


def _publish(bench: BenchEnvironment, count: int) -> None:
    topic, partitions = bench.settings.topics.prefix + Name.DECISIONS, bench.settings.topics.partitions
    producer = KafkaProducer(bench.settings.kafka, tuning={"linger.ms": 50, "compression.type": "zstd"}, quiet=True)
    encoder = msgspec.json.Encoder()
    for number in range(count):
        decision = Decision(
            transaction_id=f"tx-{number:012d}", account_id=f"acct-{number % 50_000:09d}",
            event_time=START + number, amount=number % 100_000, currency="EUR",
            action="approve", score=number % 997 / 1000, expected_loss=number % 1000,
            reasons=[], rules=[], model="vedette@12", policy="standard@4", features_hash="0123456789abcdef",
        )  # fmt: skip
        producer.send(topic, encoder.encode(decision), partition=number % partitions)
    producer.flush()


def _questions(plan: HistoryPlan, proven: list[str]) -> str:
    """Return accounts and days to ask for, drawn at random, and payments to prove, for the process that asks."""
    random = Random(5)  # noqa: S311, no secret
    accounts = account_id(pa.array([random.randrange(plan.accounts) for _ in range(_QUESTIONS)])).to_pylist()
    days = [START + random.randrange(plan.days) * DAY for _ in range(_QUESTIONS)]
    return json.dumps({"accounts": accounts, "days": days, "proven": proven})


def _newest_files(settings: ArchiveSettings) -> list[Path]:
    """Return the files of the tables as they are now, without those that only earlier readers need."""
    names = (Name.TRANSACTIONS, Name.DECISIONS, Name.LABELS)  # the others have next to nothing
    return [Path(file) for name in names for file in DeltaTable(f"{settings.url}/{name}").file_uris()]


def _environment(settings: ArchiveSettings) -> dict[str, str]:
    given = {"VEDETTE_ARCHIVE__URL": settings.url, "VEDETTE_ARCHIVE__FRESHNESS_S": str(settings.freshness_s)}
    return {name: value for name, value in os.environ.items() if not name.startswith("VEDETTE_")} | given


def _run(arguments: Sequence[str], environment: dict[str, str]) -> tuple[str, int]:
    """Run Python to its end; what it printed, and its largest memory in bytes.

    Raises:
        VedetteError: It failed.
    """
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None  # noqa: S101, it is a pipe
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise VedetteError(f"{' '.join(arguments[:2])} ended with exit code {process.returncode}")
    return output, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
