from collections.abc import Callable
from itertools import islice
from typing import Literal

import pyarrow as pa
import pytest

from bench.faults.outcome import Outcome, Published, Topics, outcome, state
from features.store import RedisStore
from streams.arrow import ACTIVITY, write
from streams.partition import HELD
from streams.pipeline import Pipeline
from streams.work import Work
from tests.streams.conftest import PARTITIONS, MakePipeline, NewDeployment
from tests.streams.feed import Log, Record, activity_of, batches, logs
from vedette import keys
from vedette.errors import FencedError, StateError
from vedette.settings import Settings
from vedette.topics import Name

OpenTopics = Callable[[Settings], Topics]
Stage = Literal["computed", "published", "half-committed", "committed", "committed-together"]

ALL = set(range(PARTITIONS))
CUSTOMERS = 15


def finish(pipeline: Pipeline, work: Work) -> None:
    """The two steps after computing."""
    pipeline.publish([work])
    for part in work.parts:
        pipeline.commit([work], part.partition)


@pytest.fixture(scope="module")
def stream() -> tuple[Log, Log]:
    """Some 400 payments with labels."""
    return logs(PARTITIONS, CUSTOMERS)


class Run:
    """A deployment whose stream is taken in by one pipeline after the other."""

    def __init__(self, settings: Settings, pipeline: MakePipeline, topics: Topics) -> None:
        self.settings = settings
        self.topics = topics
        self._pipeline = pipeline
        self.pipeline = self.restart()

    def restart(self) -> Pipeline:
        """A new pipeline, knowing only what Redis and the broker know."""
        self.pipeline = self._pipeline(self.settings)
        self.pipeline.assign(ALL)
        return self.pipeline

    def finish(self, log: Log, cut: int, *, behind: int = 0) -> None:
        """Take in the rest of a log."""
        for work in batches(self.pipeline, log, self.topics, cut, behind=behind):
            finish(self.pipeline, work)

    def outcome(self) -> Outcome:
        """What there is now."""
        return outcome(self.settings, self.topics)


@pytest.fixture
def run(
    deployment: NewDeployment, pipeline: MakePipeline, topics: Callable[[Settings], Topics]
) -> Callable[[str], Run]:
    """Makes a run on a deployment of its own."""

    def make(name: str) -> Run:
        settings = deployment(name)
        return Run(settings, pipeline, topics(settings))

    return make


MakeRun = Callable[[str], Run]


@pytest.fixture
def undisturbed(run: MakeRun, stream: tuple[Log, Log]) -> Outcome:
    """What the stream leaves behind when nothing happens."""
    calm = run("undisturbed")
    for log in stream:
        calm.finish(log, 100)
    result = calm.outcome()
    assert not result.against(Published(stream[1].transactions))
    assert any(b'"action":"approve"' not in next(iter(values)) for values in result.decisions.values())
    return result


def test_bits_do_not_depend_on_batches(run: MakeRun, stream: tuple[Log, Log], undisturbed: Outcome) -> None:
    """Batches of 1, 7 and 1000 messages leave the same features, decisions, alerts and state, bit for bit."""
    for cut in (1, 7, 1000):
        other = run(f"cut-{cut}")
        for log in stream:
            other.finish(log, cut)
        assert not other.outcome().against(Published(set(undisturbed.decisions)), undisturbed)


@pytest.mark.parametrize("stage", ["computed", "published", "half-committed", "committed", "committed-together"])
def test_crash_at_every_stage_leaves_no_trace(
    stage: Stage, run: MakeRun, stream: tuple[Log, Log], undisturbed: Outcome
) -> None:
    """A worker that dies after any step of any kind of batch, another one in the works, changes nothing in the end."""
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
                pipeline.publish(finished)
            if finished and "committed" in stage:
                touched = {part.partition.number: part.partition for work in finished for part in work.parts}
                for partition in list(touched.values())[: 1 if stage == "half-committed" else None]:
                    pipeline.commit(finished, partition)
        shaken.restart()
        shaken.finish(log, 37, behind=50)
    assert not shaken.outcome().against(Published(set(undisturbed.decisions)), undisturbed)


def test_tenfold_delivery_counts_once(run: MakeRun, undisturbed: Outcome) -> None:
    """Payments and labels that are delivered ten times, mixed with later ones, change no feature and no decision."""
    tenfold = run("tenfold")
    for log in logs(PARTITIONS, CUSTOMERS, times=10):
        tenfold.finish(log, 1000)
    assert not tenfold.outcome().against(Published(set(undisturbed.decisions)), undisturbed)


def test_worker_that_lost_its_partition_writes_nothing(run: MakeRun, stream: tuple[Log, Log]) -> None:
    """Once another has claimed a partition, the former owner's commit is refused and Redis stays as it is."""
    contested = run("contested")
    former = contested.pipeline
    work = next(batches(former, stream[0], contested.topics, 50))
    former.publish([work])
    contested.restart()
    store = RedisStore(contested.settings.redis)
    before = [store.meta(number) for number in sorted(ALL)]
    with pytest.raises(FencedError, match="belongs to another worker"):
        former.commit([work], work.parts[0].partition)
    assert [store.meta(number) for number in sorted(ALL)] == before
    assert state(contested.settings) == {}
    store.close()
    contested.finish(stream[0], 50)
    assert not contested.outcome().against(Published(stream[0].transactions))


def test_commit_whose_answer_was_lost_can_be_repeated(run: MakeRun, stream: tuple[Log, Log]) -> None:
    """Writing the same step twice is as good as once: a time-out may hide that it was done."""
    repeated = run("repeated")
    work = next(batches(repeated.pipeline, stream[0], repeated.topics, 50))
    repeated.pipeline.publish([work])
    part = work.parts[0]
    assert part.partition.written_position(work.topic) is None
    repeated.pipeline.commit([work], part.partition)
    once = state(repeated.settings)
    part.partition.written.pop(keys.position(work.topic))  # the worker never learnt that it was written
    repeated.pipeline.commit([work], part.partition)
    assert state(repeated.settings) == once


def test_store_that_has_gone_back_is_noticed(run: MakeRun, stream: tuple[Log, Log]) -> None:
    """Redis without what it had confirmed, as after a failover, is not written on top of; a new start repairs it."""
    forgetful = run("forgetful")
    coming = batches(forgetful.pipeline, stream[0], forgetful.topics, 50)
    first = next(coming)
    finish(forgetful.pipeline, first)
    second = next(work for work in coming if work.topic == first.topic)
    part = first.parts[0]
    store = RedisStore(forgetful.settings.redis)
    field = keys.position(first.topic)
    meta = keys.meta(forgetful.settings.redis.prefix, part.partition.number)
    store._client.hset(meta, field, 20)
    with pytest.raises(StateError, match=f"{field} no longer stands at {part.meta[field]}"):
        finish(forgetful.pipeline, second)
    store.close()


def test_more_activity_than_memory_is_taken_in_exactly(
    run: MakeRun, stream: tuple[Log, Log], undisturbed: Outcome
) -> None:
    """With room for hardly any merchant in memory, and batches always ahead of what is written, nothing is lost."""
    cramped = run("cramped")
    cramped.pipeline._cache._most = 4
    for log in stream:
        for work in batches(cramped.pipeline, log, cramped.topics, 10, activity=False):
            finish(cramped.pipeline, work)
        for (topic, number), records in activity_of(cramped.topics).items():
            ahead: list[Work | None] = []
            for start in range(0, len(records), 3):
                ahead.append(cramped.pipeline.compute(topic, {number: records[start : start + 3]}))
                if len(ahead) == HELD and (oldest := ahead.pop(0)):
                    finish(cramped.pipeline, oldest)
            for work in filter(None, ahead):
                finish(cramped.pipeline, work)
    assert not cramped.outcome().against(Published(set(undisturbed.decisions)), undisturbed)


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
                    {"offset": [1]}, pa.schema([("offset", pa.int64())], {"source": "transactions"})
                )
            ),
            id="other-columns",
        ),
        pytest.param(
            write(
                pa.RecordBatch.from_pylist(
                    [dict.fromkeys(ACTIVITY.names, 9)], ACTIVITY.with_metadata({"source": "transactions"})
                )
            ),
            id="no-such-partition",
        ),
        pytest.param(
            write(pa.RecordBatch.from_pylist([{"entity": 1}], ACTIVITY.with_metadata({"source": "transactions"}))),
            id="nulls",
        ),
    ],
)
def test_unreadable_activity_is_set_aside(value: bytes | None, run: MakeRun, stream: tuple[Log, Log]) -> None:
    """A message on the activity topic that is no activity goes to the dead letters, and its neighbours are applied."""
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
