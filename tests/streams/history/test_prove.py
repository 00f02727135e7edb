"""Decisions of a run with live signals, a challenger and a change of the policy, proven from their archive."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from typer.testing import CliRunner

from adapters.kafka_consumer import KafkaMessage
from archive.past import Period
from archive.past import feature_log as archived_log
from archive.search import Archive
from archive.service import location
from archive.tables import TABLES
from archive.writer import TableWriter
from cli.main import app
from decisions.policy_record import policy_record
from decisions.rollout import Rollout
from decisions.strategy import Strategy
from features.catalogue import catalogue_hash
from features.store import RedisStore
from models.file_names import SETTLED_MODEL
from models.registry.store import Registry
from producers.frame import rows_to_labels, rows_to_transactions
from producers.simulation import Simulation
from producers.simulator import simulate
from streams.active_strategies import ActiveStrategies
from streams.history.archived import feature_log
from streams.history.feature_log import read_log
from streams.history.run_output import Topics
from streams.metrics import Metrics
from streams.own_decisions import DecisionLog
from streams.pipeline import Pipeline
from streams.publish import ResultPublisher
from streams.topic_check import check_topics
from tests.conftest import ROOT
from tests.streams.conftest import PARTITIONS, NewDeployment
from tests.streams.feed import Record, activity_of
from vedette.clock import SystemClock
from vedette.control import POLICY_FILE, ControlRecord, Models
from vedette.events import Label, Transaction
from vedette.partitioner import partition_of
from vedette.settings import ArchiveSettings, DecisionSettings, RegistrySettings, Settings
from vedette.settings_page import describe
from vedette.topics import Name

SIMULATION = Simulation(
    customers=40, terminals=60, days=18, seed=3, late_labels=0.4, returns=0.5,
    scenarios={"large_amount": 3, "compromised_terminal": 0.3, "public_computer": 1, "mule_forward": 1},
)  # fmt: skip
BEGAN = 1_600_000_000_000
AT_ONCE = 40
APART_MS = 20
LABELLED = 6
BEHIND = 12
"""Batches after which the owners of merchants read what has happened at them."""
WHO = {"approver": "Ada", "reason": "because", "at": 1}
STRICT = """
format: 1
name: strict
version: 2
thresholds: {review: [{probability: 0.2}], decline: [{probability: 0.9}]}
rules:
  - {name: large, when: amount > 80 AND is_new_merchant = 1, action: challenge, reason: a large amount}
limits:
  - {name: daily, currency: EUR, daily: 300, action: review}
"""
Prove = Callable[..., tuple[int, list[dict[str, object]]]]


@dataclass
class Feed:
    """Transactions and labels in the order in which they become known, on partitions."""

    runs: list[tuple[Name, list[Record]]]

    @classmethod
    def simulated(cls) -> "Feed":
        """Return some hundred payments, early and late labels, and money that goes back."""
        frame = pa.Table.from_batches(simulate(SIMULATION)).combine_chunks().to_batches()[0]
        events: list[tuple[int, Name, Transaction | Label]] = [
            (made.event_time, Name.TRANSACTIONS, made) for made in rows_to_transactions(frame)
        ]
        labels = rows_to_labels(frame, "simulator", frauds_only=False)
        events += [
            (label.labelled_at, Name.LABELS, label) for number, label in enumerate(labels) if number % LABELLED == 0
        ]
        ends: dict[tuple[Name, int], int] = {}
        records: list[tuple[Name, Record]] = []
        for number, (_, topic, event) in enumerate(sorted(events, key=lambda event: event[0])):
            key = event.account_id.encode()
            partition = partition_of(key, PARTITIONS)
            offset = ends.get((topic, partition), 0)
            ends[topic, partition] = offset + 1
            record = Record(key, msgspec.json.encode(event), partition, offset, BEGAN + number * APART_MS)
            records.append((topic, record))
        runs = []
        for topic, group in groupby(records, key=lambda one: one[0]):
            run = [record for _, record in group]
            runs += [(topic, run[start : start + AT_ONCE]) for start in range(0, len(run), AT_ONCE)]
        return cls(runs)

    def records(self, topic: Name) -> list[Record]:
        """Return the messages of a topic."""
        return [record for of, run in self.runs if of == topic for record in run]


def process(pipeline: Pipeline, topic: Name, records: list[Record]) -> None:
    """Compute, publish and commit a batch."""
    by_partition = {number: [one for one in records if one.partition == number] for number in range(PARTITIONS)}
    work = pipeline.compute(topic, {number: part for number, part in by_partition.items() if part})
    if work is None:
        return
    pipeline.settle([work])
    sent = pipeline.send([work])
    pipeline.confirm(sent)
    pipeline.commit_all(sent, [update.partition for update in work.updates])


@pytest.fixture
def deployed(deployment: NewDeployment, tmp_path: Path) -> Settings:
    """A deployment with an archive and a registry of its own."""
    registry = RegistrySettings(
        url=f"sqlite:///{tmp_path}/registry.sqlite", artifacts=f"{tmp_path}/registry", served=f"{tmp_path}/served"
    )
    return msgspec.structs.replace(
        deployment("p"), archive=ArchiveSettings(url=f"{tmp_path}/archive"), registry=registry,
        decisions=DecisionSettings(model=str(SETTLED_MODEL)),
    )  # fmt: skip


@pytest.fixture
def changes(deployed: Settings, tmp_path: Path) -> tuple[Models, ControlRecord]:
    """A trial of another model on half of the accounts, and another policy."""
    registry, refs = Registry(deployed.registry), []
    for name, factor in (("old", 1.0), ("new", 0.5)):
        folder = tmp_path / name
        shutil.copytree(ROOT / "models/demo", folder)
        contract = json.loads((folder / "contract.json").read_text())
        contract["name"] = name
        contract["calibration"]["margins"] = [margin * factor for margin in contract["calibration"]["margins"]]
        (folder / "contract.json").write_text(json.dumps(contract))
        refs.append(registry.register(folder, 1).ref)
    trial = Models(champion=refs[0], challenger=refs[1], rollout_fraction=0.5, **WHO)
    return trial, policy_record({POLICY_FILE: STRICT}, **WHO)


@pytest.fixture
def archived(
    deployed: Settings, changes: tuple[Models, ControlRecord], strategy: Strategy,
    topics: Callable[[Settings], Topics],
) -> Iterator[Settings]:  # fmt: skip
    """The archive of a run: a third by what ships, a third with a challenger, a third by another policy as well."""
    feed, reader = Feed.simulated(), topics(deployed)
    strategies = ActiveStrategies(deployed.registry, Rollout(strategy), Metrics(), SystemClock())
    store, log = RedisStore(deployed.redis), DecisionLog(deployed)
    pipeline = Pipeline(
        store=store, decisions=log, strategies=strategies, partitions=PARTITIONS, prefix=deployed.redis.prefix,
        publisher=ResultPublisher(deployed.kafka, deployed.topics.prefix, check_topics(deployed)),
        cache_accounts=1000, max_future_ms=deployed.worker.max_future_s * 1000,
    )  # fmt: skip
    pipeline.assign(set(range(PARTITIONS)))
    done: dict[int, int] = {}
    for number, (topic, records) in enumerate(feed.runs):
        if number in (len(feed.runs) // 3, 2 * len(feed.runs) // 3):
            assert strategies.apply(changes[0] if number == len(feed.runs) // 3 else changes[1])
        process(pipeline, topic, records)
        if number % BEHIND == 0:
            activity = [one for part in activity_of(reader).values() for one in part]
            process(pipeline, Name.ACTIVITY, [one for one in activity if one.offset >= done.get(one.partition, 0)])
            done |= {one.partition: one.offset + 1 for one in activity}
    messages = {topic: feed.records(topic) for topic in (Name.TRANSACTIONS, Name.LABELS)}
    messages |= {topic: list(map(KafkaMessage.of, reader.messages(topic))) for topic in (Name.DECISIONS, Name.FEATURES)}
    messages[Name.CONTROL] = [
        Record(None, msgspec.json.encode(record), 0, offset) for offset, record in enumerate(changes)
    ]
    for table in TABLES:
        rows, rejected = table.rows(messages.get(table.topic, []))
        assert not rejected
        TableWriter(location(deployed.archive, table), table, table.topic, {}).append(rows, {})
    yield deployed
    store.close()
    log.close()


@pytest.fixture
def prove(archived: Settings, tmp_path: Path) -> Prove:
    """Runs `vedette prove --json`: the exit code and the proofs."""
    file = tmp_path / "vedette.toml"
    file.write_text(describe(archived), encoding="utf-8")

    def run(*arguments: str) -> tuple[int, list[dict[str, object]]]:
        done = CliRunner().invoke(app, ["--settings", str(file), "prove", *arguments, "--json"])
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, [json.loads(line) for line in done.stdout.splitlines()]

    return run


def test_the_archived_feature_log_is_that_of_the_topic(archived: Settings) -> None:
    """Retraining reads the same payments, decisions and features from either, in the same order."""
    topic = read_log(archived, 0)
    with Archive(archived.archive) as archive:
        found = feature_log(archived_log(archive, Period(), catalogue_hash(archived.features.label_delay)))
    assert found.names == topic.names
    assert found.table["transaction_id"].to_pylist() == topic.table["transaction_id"].to_pylist()
    for name in topic.table.column_names:
        np.testing.assert_array_equal(found.column(name), topic.column(name))
    np.testing.assert_array_equal(found.matrix, topic.matrix)


def test_every_decision_is_made_again_and_a_cent_is_noticed(prove: Prove, archived: Settings) -> None:
    """All are the same, whichever model and policy decided; with a changed amount one differs, and it says in what."""
    code, proofs = prove("--sample", "100000")
    payments = {
        msgspec.json.decode(one.value, type=Transaction).transaction_id: one
        for one in Feed.simulated().records(Name.TRANSACTIONS)
    }
    wrong = [(proof["transaction_id"], proof["differences"]) for proof in proofs if not proof["same"]]
    assert wrong == []
    assert (code, {proof["transaction_id"] for proof in proofs}) == (0, set(payments))
    assert {str(proof["model"]).split("@")[0] for proof in proofs} == {"settled", "old", "new", ""}
    assert {proof["policy"] for proof in proofs} == {"default@1", "strict@2"}
    assert {proof["live"] for proof in proofs} > {0}

    proven = [str(proof["transaction_id"]) for proof in proofs if proof["model"]][:: len(proofs) // 3]
    assert prove(proven[0])[0] == 0
    table = next(table for table in TABLES if table.topic == Name.TRANSACTIONS)
    changed = DeltaTable(location(archived.archive, table)).update(
        updates={"amount": "amount + 1"}, predicate=f"transaction_id = '{proven[0]}'"
    )
    assert changed["num_updated_rows"] == 1
    code, (proof,) = prove(proven[0])
    named = {difference["field"]: difference for difference in proof["differences"]}  # type: ignore[union-attr]
    assert (code, proof["same"], proof["transaction_id"]) == (1, False, proven[0])
    assert named["amount"]["recomputed"] == named["amount"]["archived"] + 1
    assert np.isclose(named["amount_major"]["recomputed"], named["amount_major"]["archived"] + 0.01)
    assert {proof["same"] for proof in prove(proven[1])[1]} == {True}
