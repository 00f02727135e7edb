from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Literal

import msgspec
import pyarrow as pa
import pytest

from adapters.kafka_producer import KafkaProducer
from features.catalogue import LIVE
from features.identity import OPEN
from features.store import RedisStore
from streams.arrow import ACTIVITY, write
from streams.batch import Computed, SentBatch
from streams.history.feature_log import read_log
from streams.history.run_output import RunInput, RunOutput, Topics, read_output, state
from streams.history.skew import published_after, skew
from streams.history.topic_history import past
from streams.partition import HELD
from streams.pipeline import Pipeline
from tests.streams.conftest import PARTITIONS, MakePipeline, NewDeployment
from tests.streams.feed import Log, Record, activity_of, batches, logs
from vedette import keys
from vedette.errors import FencedError, StateError
from vedette.events import MAX_TIME
from vedette.settings import Settings
from vedette.topics import Name

OpenTopics = Callable[[Settings], Topics]
Stage = Literal["computed", "published", "half-committed", "committed", "committed-together"]

ALL = set(range(PARTITIONS))
CUSTOMERS = 15


def published(pipeline: Pipeline, work: list[Computed]) -> list[SentBatch]:
    """Return batches that the broker has completely."""
    pipeline.settle(work)
    sent = pipeline.send(work)
    pipeline.confirm(sent)
    return sent


def finish(pipeline: Pipeline, *work: Computed) -> None:
    """Run the steps after computing."""
    sent = published(pipeline, list(work))
    touched = {update.partition.number: update.partition for computed in work for update in computed.updates}
    for partition in touched.values():
        pipeline.commit(sent, partition)


@pytest.fixture(scope="module")
def stream() -> tuple[Log, Log]:
    """Some 400 payments with labels."""
    return logs(PARTITIONS, CUSTOMERS)


class Run:
    """A deployment whose stream is processed by one pipeline after another."""

    def __init__(self, settings: Settings, pipeline: MakePipeline, topics: Topics) -> None:
        self.settings = settings
        self.topics = topics
        self._pipeline = pipeline
        self.pipeline = self.restart()

    def restart(self) -> Pipeline:
        """Return a new pipeline that knows only what Redis and the broker know."""
        self.pipeline = self._pipeline(self.settings)
        self.pipeline.assign(ALL)
        return self.pipeline

    def finish(self, log: Log, cut: int, *, behind: int = 0, together: int = 1) -> None:
        """Process the rest of a log, finishing this many batches at once."""
        coming = batches(self.pipeline, log, self.topics, cut, behind=behind)
        while work := list(islice(coming, together)):
            finish(self.pipeline, *work)

    def output(self) -> RunOutput:
        """Return the present output."""
        return read_output(self.settings, self.topics)


@pytest.fixture
def run(
    deployment: NewDeployment, pipeline: MakePipeline, topics: Callable[[Settings], Topics]
) -> Callable[[str], Run]:
    """Makes a run on a separate deployment."""

    def make(name: str) -> Run:
        settings = deployment(name)
        return Run(settings, pipeline, topics(settings))

    return make


MakeRun = Callable[[str], Run]


@pytest.fixture
def undisturbed(run: MakeRun, stream: tuple[Log, Log]) -> RunOutput:
    """The output of the stream without faults."""
    calm = run("undisturbed")
    for log in stream:
        calm.finish(log, 100)
    result = calm.output()
    assert not result.against(RunInput(stream[1].transactions))
    assert any(b'"action":"approve"' not in next(iter(values)) for values in result.decisions.values())
    return result


def test_bits_do_not_depend_on_batches(run: MakeRun, stream: tuple[Log, Log], undisturbed: RunOutput) -> None:
    """Batches of 1, 7 and 1000 messages leave the same features, decisions, alerts and state, bit for bit."""
    for cut in (1, 7, 1000):
        other = run(f"cut-{cut}")
        for log in stream:
            other.finish(log, cut)
        assert not other.output().against(RunInput(set(undisturbed.decisions)), undisturbed)


@pytest.mark.parametrize("stage", ["computed", "published", "half-committed", "committed", "committed-together"])
def test_crash_at_every_stage_leaves_no_trace(
    stage: Stage, run: MakeRun, stream: tuple[Log, Log], undisturbed: RunOutput
) -> None:
    """A worker that crashes after any step of any kind of batch, another in progress, changes nothing in the end."""
    shaken = run(stage)
    for log in stream:
        for _ in range(4):
            pipeline = shaken.restart()
            coming = batches(pipeline, log, shaken.topics, 37, behind=50)
            for work in islice(coming, 3):
                finish(pipeline, work)
            in_flight = list(islice(coming, 2))  # the second is computed while the first is finished
            finished = in_flight if stage == "committed-together" else in_flight[:1]
            if finished and stage != "computed":
                sent = published(pipeline, finished)
            if finished and "committed" in stage:
                touched = {part.partition.number: part.partition for work in finished for part in work.updates}
                for partition in list(touched.values())[: 1 if stage == "half-committed" else None]:
                    pipeline.commit(sent, partition)
        shaken.restart()
        shaken.finish(log, 37, behind=50)
    assert not shaken.output().against(RunInput(set(undisturbed.decisions)), undisturbed)


def test_bits_do_not_depend_on_what_is_finished_together(
    run: MakeRun, stream: tuple[Log, Log], undisturbed: RunOutput
) -> None:
    """Batches whose log is encoded as one, of payments, labels and activity, leave the same output, bit for bit."""
    other = run("together")
    for log in stream:
        other.finish(log, 7, together=HELD)
        other.finish(log, 7)  # the activity that the last of them have sent
    assert not other.output().against(RunInput(set(undisturbed.decisions)), undisturbed)


def test_tenfold_delivery_counts_once(run: MakeRun, undisturbed: RunOutput) -> None:
    """Payments and labels that are delivered ten times, mixed with later ones, change no feature and no decision."""
    tenfold = run("tenfold")
    for log in logs(PARTITIONS, CUSTOMERS, times=10):
        tenfold.finish(log, 1000)
    assert not tenfold.output().against(RunInput(set(undisturbed.decisions)), undisturbed)


def test_worker_that_lost_its_partition_writes_nothing(run: MakeRun, stream: tuple[Log, Log]) -> None:
    """Once another worker has claimed a partition, the former owner's commit is refused and Redis does not change."""
    contested = run("contested")
    former = contested.pipeline
    work = next(batches(former, stream[0], contested.topics, 50))
    sent = published(former, [work])
    contested.restart()
    store = RedisStore(contested.settings.redis)
    before = [store.meta(number) for number in sorted(ALL)]
    with pytest.raises(FencedError, match="belongs to another worker"):
        former.commit(sent, work.updates[0].partition)
    assert [store.meta(number) for number in sorted(ALL)] == before
    assert state(contested.settings) == {}
    store.close()
    contested.finish(stream[0], 50)
    assert not contested.output().against(RunInput(stream[0].transactions))


def test_commit_whose_answer_was_lost_can_be_repeated(run: MakeRun, stream: tuple[Log, Log]) -> None:
    """Writing the same step twice has the effect of writing it once: a time-out may hide that it was done."""
    repeated = run("repeated")
    work = next(batches(repeated.pipeline, stream[0], repeated.topics, 50))
    sent = published(repeated.pipeline, [work])
    part = work.updates[0]
    assert part.partition.written_position(work.topic) is None
    repeated.pipeline.commit(sent, part.partition)
    once = state(repeated.settings)
    part.partition.written.pop(keys.position(work.topic))  # the worker never learnt that it was written
    repeated.pipeline.commit(sent, part.partition)
    assert state(repeated.settings) == once


def test_store_that_has_gone_back_is_noticed(run: MakeRun, stream: tuple[Log, Log], undisturbed: RunOutput) -> None:
    """A Redis that lost what it had confirmed, as after a failover, is not overwritten; a restart repairs it."""
    forgetful = run("forgetful")
    coming = batches(forgetful.pipeline, stream[0], forgetful.topics, 50)
    first = next(coming)
    finish(forgetful.pipeline, first)
    second = next(work for work in coming if work.topic == first.topic)
    part = first.updates[0]
    store = RedisStore(forgetful.settings.redis)
    field = keys.position(first.topic)
    meta = keys.meta(forgetful.settings.redis.prefix, part.partition.number)
    store._client.hset(meta, field, 20)
    with pytest.raises(StateError, match=f"{field} is no longer {part.watermarks[field]}"):
        finish(forgetful.pipeline, second)
    store.clear(PARTITIONS)  # as if Redis had gone back to before the beginning
    store.close()
    forgetful.restart()
    for log in stream:
        forgetful.finish(log, 50)
    assert not forgetful.output().against(RunInput(set(undisturbed.decisions)), undisturbed)


def test_more_activity_than_memory_is_taken_in_exactly(
    run: MakeRun, stream: tuple[Log, Log], undisturbed: RunOutput
) -> None:
    """With memory for hardly any merchant, and batches always ahead of what is written, nothing is lost."""
    cramped = run("cramped")
    cramped.pipeline._cache._limit = 4
    for log in stream:
        for work in batches(cramped.pipeline, log, cramped.topics, 10, activity=False):
            finish(cramped.pipeline, work)
        for (topic, number), records in activity_of(cramped.topics).items():
            ahead: list[Computed | None] = []
            for start in range(0, len(records), 3):
                ahead.append(cramped.pipeline.compute(topic, {number: records[start : start + 3]}))
                if len(ahead) == HELD and (oldest := ahead.pop(0)):
                    finish(cramped.pipeline, oldest)
            for work in filter(None, ahead):
                finish(cramped.pipeline, work)
    assert not cramped.output().against(RunInput(set(undisturbed.decisions)), undisturbed)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"", id="empty"),
        pytest.param(None, id="tombstone"),
        pytest.param(b"no arrow", id="bytes"),
        pytest.param(write(pa.RecordBatch.from_pydict({"offset": [1]})), id="no-metadata"),
        pytest.param(
            write(
                pa.RecordBatch.from_pydict(
                    {"offset": [1]},
                    pa.schema([("offset", pa.int64())], {"source": "transactions", "identity": str(OPEN.fingerprint)}),
                )
            ),
            id="other-columns",
        ),
        pytest.param(
            write(
                pa.RecordBatch.from_pylist(
                    [dict.fromkeys(ACTIVITY.names, 9)],
                    ACTIVITY.with_metadata({"source": "transactions", "identity": str(OPEN.fingerprint)}),
                )
            ),
            id="no-such-partition",
        ),
        pytest.param(
            write(
                pa.RecordBatch.from_pylist(
                    [{"entity": 1}],
                    ACTIVITY.with_metadata({"source": "transactions", "identity": str(OPEN.fingerprint)}),
                )
            ),
            id="nulls",
        ),
    ],
)
def test_unreadable_activity_is_set_aside(value: bytes | None, run: MakeRun, stream: tuple[Log, Log]) -> None:
    """An invalid message on the activity topic goes to the dead letters, and its neighbours are applied."""
    broken = run("broken")
    for work in batches(broken.pipeline, stream[0], broken.topics, 200, activity=False):
        finish(broken.pipeline, work)
    good = activity_of(broken.topics)[Name.ACTIVITY, 0]
    records = [Record(None, record.value, 0, 2 * place) for place, record in enumerate(good)]
    records.insert(1, Record(b"key", value, 0, 1))
    pipeline = broken.restart()
    work = pipeline.compute(Name.ACTIVITY, {0: records})
    assert work is not None
    finish(pipeline, work)
    (dead,) = broken.topics.messages(Name.DLQ)
    assert (dead.key(), dead.value()) == (b"key", value)
    assert dict(dead.headers())["__connect.errors.offset"] == b"1"
    assert sum(name.startswith("{0}e:") for name in state(broken.settings)) > 1


def payments_of(log: Log, start: int, end: int) -> dict[int, list[Record]]:
    """Some payments of each partition."""
    return {number: queue[start:end] for (topic, number), queue in log.records.items() if topic == Name.TRANSACTIONS}


def apply_activity(pipeline: Pipeline, topics: Topics) -> None:
    """Let the owners of entities take in what there is."""
    for (topic, number), records in activity_of(topics).items():
        if work := pipeline.compute(topic, {number: records}):
            finish(pipeline, work)


def offsets_of_decisions(topics: Topics) -> dict[str, list[tuple[int, int]]]:
    """Partition and offset of every decision, by transaction."""
    found: dict[str, list[tuple[int, int]]] = {}
    for message in topics.messages(Name.DECISIONS):
        transaction = msgspec.json.decode(message.value())["transaction_id"]
        found.setdefault(transaction, []).append((message.partition(), message.offset()))
    return found


def test_a_successor_takes_decisions_over_with_what_they_saw(run: MakeRun, stream: tuple[Log, Log]) -> None:
    """Decisions of a worker that died before it wrote stand, though owners of entities have got on since."""
    shaken = run("taken-over")
    for start in range(0, 100, 20):
        work = shaken.pipeline.compute(Name.TRANSACTIONS, payments_of(stream[0], start, start + 20))
        assert work is not None
        if start == 80:
            shaken.pipeline.settle([work])  # its decisions are out; it dies before feature log, activity and state are
            break
        finish(shaken.pipeline, work)
    successor = shaken.restart()
    apply_activity(successor, shaken.topics)
    again = successor.compute(Name.TRANSACTIONS, payments_of(stream[0], 80, 120))
    assert again is not None
    finish(successor, again)
    assert {len(places) for places in offsets_of_decisions(shaken.topics).values()} == {1}
    output = shaken.output()
    assert output.features.keys() == output.decisions.keys()
    assert not output.unlike
    assert {len(rows) for rows in output.features.values()} == {1}


def test_what_one_successor_has_not_taken_over_the_next_one_does(run: MakeRun, stream: tuple[Log, Log]) -> None:
    """A successor that dies after the first of two batches decided before it leaves the second to the next one."""
    chain = run("chain")
    for start in range(0, 60, 20):
        work = chain.pipeline.compute(Name.TRANSACTIONS, payments_of(stream[0], start, start + 20))
        assert work is not None
        finish(chain.pipeline, work)
    for start in (60, 80):
        work = chain.pipeline.compute(Name.TRANSACTIONS, payments_of(stream[0], start, start + 20))
        assert work is not None
        chain.pipeline.settle([work])
    for start, end in ((60, 80), (80, 120)):
        successor = chain.restart()
        apply_activity(successor, chain.topics)
        work = successor.compute(Name.TRANSACTIONS, payments_of(stream[0], start, end))
        assert work is not None
        finish(successor, work)
    assert {len(places) for places in offsets_of_decisions(chain.topics).values()} == {1}
    output = chain.output()
    assert not output.unlike
    assert {len(rows) for rows in output.features.values()} == {1}


def test_a_worker_that_wakes_up_late_changes_nothing_that_was_seen(run: MakeRun, stream: tuple[Log, Log]) -> None:
    """What the former owner publishes between its successor's look and decision stands, and both log that."""
    late = run("late")
    former = late.pipeline
    for start in range(0, 80, 20):
        work = former.compute(Name.TRANSACTIONS, payments_of(stream[0], start, start + 20))
        assert work is not None
        finish(former, work)
    successor = late.restart()
    apply_activity(successor, late.topics)
    stale = former.compute(Name.TRANSACTIONS, payments_of(stream[0], 80, 100))
    assert stale is not None
    former.settle([stale])
    work = successor.compute(Name.TRANSACTIONS, payments_of(stream[0], 80, 120))
    assert work is not None
    finish(successor, work)
    former.confirm(former.send([stale]))
    output = late.output()
    assert not output.unlike
    assert {len(rows) for rows in output.features.values()} == {1}
    assert sum(len(places) > 1 for places in offsets_of_decisions(late.topics).values()) == len(
        stale.decided.payments.batch
    )


def test_skew_is_what_owners_were_behind(run: MakeRun, stream: tuple[Log, Log], tmp_path: Path) -> None:
    """Payment by payment, with owners that keep up, the stream saw what a computation without lag gives."""
    followed = run("skew")
    producer = KafkaProducer(followed.settings.kafka)
    payments: dict[int, list[Record]] = payments_of(stream[0], 0, 30)
    for number, queue in payments.items():
        for record in queue:
            topic = followed.settings.topics.prefix + Name.TRANSACTIONS
            producer.send(topic, record.value, record.key, partition=number)
    producer.flush()
    in_order = sorted(
        (record for queue in payments.values() for record in queue),
        key=lambda record: msgspec.json.decode(record.value or b"")["event_time"],
    )
    for record in in_order:
        work = followed.pipeline.compute(Name.TRANSACTIONS, {record.partition: [record]})
        assert work is not None
        finish(followed.pipeline, work)
        apply_activity(followed.pipeline, followed.topics)
    with past(followed.settings, tmp_path, start_ms=0, end_ms=MAX_TIME) as history:
        waited = published_after(followed.settings, 0)
        report = skew(history.in_order(), read_log(followed.settings, 0), waited)
    assert report.payments == len(in_order)
    assert {one.feature for one in report.features} == LIVE
    assert min(one.equal for one in report.features) == 1.0
    assert len(report.published_after_s) == 4
