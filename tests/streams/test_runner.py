import asyncio
import dataclasses
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from bench.faults.outcome import Topics, state
from bench.faults.poison import transaction
from stack.local import LocalStack
from streams.metrics import Metrics
from streams.policy import Degraded
from streams.runner import EXIT_STUCK, Batch, Runner, Stopped
from streams.scoring import Judge
from tests.conftest import running, wait_for
from tests.streams.conftest import PARTITIONS, ROOT, MakePipeline, NewDeployment
from tests.streams.feed import Record
from vedette import SystemClock
from vedette.errors import StateError, VedetteError
from vedette.events import Decision
from vedette.settings import Settings, describe
from vedette.topics import Name

MakeRunner = Callable[[Settings], Runner]


@pytest.fixture
def runner(pipeline: MakePipeline) -> MakeRunner:
    """Makes a runner over a pipeline of its own."""

    def make(settings: Settings) -> Runner:
        return Runner(pipeline(settings), Metrics(), SystemClock(), stuck_after_s=60)

    return make


def batch(start: int, count: int, generation: int, account: str = "A1") -> Batch:
    """Payments of one account."""
    records = [
        Record(None, transaction(transaction_id=f"t{offset}", account_id=account), 0, offset)
        for offset in range(start, start + count)
    ]
    return Batch(Name.TRANSACTIONS, {0: records}, {0: start}, generation)


async def own(runner: Runner, start: int = 0) -> None:
    """Take over all partitions and begin to read."""
    for partition in (await runner.assign(set(range(PARTITIONS)))).values():
        partition.begin(Name.TRANSACTIONS, start)


def test_watermark_follows_what_is_finished(deployment: NewDeployment, runner: MakeRunner) -> None:
    """What may be committed to Kafka is what Redis holds: nothing before the first batch, then where the last ended."""
    made = runner(deployment("a"))

    async def run() -> list[int | None]:
        await own(made)
        seen = [made.watermark(Name.TRANSACTIONS, 0)]
        for start in (0, 10):
            await made.submit(batch(start, 10, made.generation))
            await made.drain()
            seen.append(made.watermark(Name.TRANSACTIONS, 0))
        return [*seen, made.watermark(Name.LABELS, 0), made.watermark(Name.TRANSACTIONS, 9)]

    assert asyncio.run(run()) == [None, 10, 20, None, None]


def test_batch_of_an_earlier_assignment_is_dropped(deployment: NewDeployment, runner: MakeRunner) -> None:
    """What was fetched before the latest assignment is not taken in; it is fetched again from the watermark."""
    made = runner(deployment("a"))

    async def run() -> int | None:
        await own(made)
        old = batch(0, 10, made.generation)
        await own(made)
        await made.submit(old)
        await made.drain()
        return made.watermark(Name.TRANSACTIONS, 0)

    assert asyncio.run(run()) is None


def test_gap_between_batches_is_refused(deployment: NewDeployment, runner: MakeRunner) -> None:
    """A batch that does not begin where the one before it ended raises, so that nothing is left out in silence."""
    made = runner(deployment("a"))

    async def run() -> None:
        await own(made, start=5)
        await made.submit(batch(5, 10, made.generation))
        with pytest.raises(VedetteError, match="transactions 0: messages 15 to 19 did not arrive"):
            await made.submit(batch(20, 10, made.generation))
        await made.drain()
        assert made.watermark(Name.TRANSACTIONS, 0) == 15

    asyncio.run(run())


def test_messages_that_the_log_no_longer_holds_are_no_gap(deployment: NewDeployment, runner: MakeRunner) -> None:
    """Offsets that compaction, retention or transactions have taken from the log itself do not stop the worker."""
    made = runner(deployment("a"))

    async def run() -> int | None:
        await own(made, start=5)
        whole = batch(5, 10, made.generation)
        await made.submit(dataclasses.replace(whole, records={0: whole.records[0][4:]}))
        await made.drain()
        return made.watermark(Name.TRANSACTIONS, 0)

    assert asyncio.run(run()) == 15


def test_fenced_partition_is_given_up_and_its_batches_dropped(deployment: NewDeployment, runner: MakeRunner) -> None:
    """Once another worker has claimed a partition, nothing of it is written any more, and the metric says so."""
    settings = deployment("a")
    former, heir = runner(settings), runner(settings)

    async def run() -> None:
        await own(former)
        await own(heir)
        for start in (0, 10):
            await former.submit(batch(start, 10, former.generation))
        await former.drain()
        assert former.watermark(Name.TRANSACTIONS, 0) is None
        assert former._metrics.fenced._value.get() == 1
        await heir.submit(batch(0, 10, heir.generation))
        await heir.drain()
        assert heir.watermark(Name.TRANSACTIONS, 0) == 10

    asyncio.run(run())


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[LocalStack]:
    """A stack whose Redis may be stopped."""
    yield from running(LocalStack(tmp_path / "stack"))


@pytest.fixture
def on_own(own_stack: LocalStack, deployment: NewDeployment) -> Settings:
    """A deployment whose Redis is that one."""
    settings = deployment("a")
    return msgspec.structs.replace(settings, redis=msgspec.structs.replace(settings.redis, url=own_stack.redis_url))


def test_redis_that_is_away_is_waited_for(own_stack: LocalStack, on_own: Settings, runner: MakeRunner) -> None:
    """While Redis is away the batch waits and readiness says for what; when Redis is back the batch is finished."""
    made = runner(on_own)

    async def run() -> None:
        await own(made)
        own_stack.redis.kill()
        submitted = asyncio.create_task(made.submit(batch(0, 10, made.generation)))
        await asyncio.to_thread(wait_for, lambda: made._metrics.waiting_for == "load state", 60)
        assert not submitted.done()
        own_stack.redis.start()
        await submitted
        await made.drain()
        assert made._metrics.waiting_for is None
        assert made.watermark(Name.TRANSACTIONS, 0) == 10

    asyncio.run(run())


@pytest.fixture
def hasty(judge: Judge) -> Judge:
    """One whose policy does not let payments wait for Redis."""
    form = msgspec.structs.replace(judge.policy.form, degraded=Degraded(after_s=0.2))
    return dataclasses.replace(judge, policy=dataclasses.replace(judge.policy, form=form))


def test_payments_do_not_wait_for_redis_longer_than_the_policy_says(
    own_stack: LocalStack, on_own: Settings, deployment: NewDeployment, pipeline: MakePipeline, hasty: Judge,
    topics: Callable[[Settings], Topics],
) -> None:  # fmt: skip
    """They are decided without history, and again once Redis is back, with what a worker gives that never missed it."""
    calm = deployment("b")
    made, other = (
        Runner(pipeline(settings, hasty), Metrics(), SystemClock(), stuck_after_s=60) for settings in (on_own, calm)
    )

    async def run() -> None:
        await own(made)
        await made.submit(batch(0, 10, made.generation))
        await made.drain()
        own_stack.redis.kill()
        await made.submit(batch(10, 10, made.generation))  # the account is held in memory, so its state is not missed
        await asyncio.to_thread(wait_for, lambda: made._metrics.deciding_without_history, 60)
        await made.submit(batch(20, 10, made.generation))
        assert made._metrics.degraded_decisions._value.get() == 10
        assert made.watermark(Name.TRANSACTIONS, 0) == 10
        looking = asyncio.create_task(made.look())
        own_stack.redis.start()
        await asyncio.to_thread(wait_for, lambda: made.may_resume, 60)
        looking.cancel()
        await own(made, start=10)
        assert not made._metrics.deciding_without_history
        await made.submit(batch(10, 20, made.generation))
        await made.drain()
        await own(other)
        await other.submit(batch(0, 30, other.generation))
        await other.drain()

    asyncio.run(run())
    said = [msgspec.json.decode(message.value(), type=Decision) for message in topics(on_own).messages(Name.DECISIONS)]
    assert [decision.transaction_id for decision in said if decision.degraded] == [f"t{i}" for i in range(20, 30)]
    stands = {decision.transaction_id: decision for decision in said}
    undisturbed = topics(calm).messages(Name.DECISIONS)
    assert list(stands.values()) == [msgspec.json.decode(message.value(), type=Decision) for message in undisturbed]
    assert state(on_own) == state(calm)


def test_worker_left_without_partitions_decides_on_nothing(
    own_stack: LocalStack, on_own: Settings, pipeline: MakePipeline, hasty: Judge
) -> None:
    """When Redis is back and others have all partitions, it no longer says that it decides without history."""
    made = Runner(pipeline(on_own, hasty), Metrics(), SystemClock(), stuck_after_s=60)

    async def run() -> None:
        await own(made)
        own_stack.redis.kill()
        await made.submit(batch(0, 10, made.generation))
        assert made._metrics.deciding_without_history
        own_stack.redis.start()
        await made.assign(set())
        assert not made._metrics.deciding_without_history
        assert made._metrics.waiting_for is None

    asyncio.run(run())


def test_stopping_ends_the_wait_for_parts_that_are_away(
    own_stack: LocalStack, on_own: Settings, runner: MakeRunner
) -> None:
    """A worker told to end does not wait for Redis to come back; what was not written is done again later."""
    made = runner(on_own)

    async def run() -> None:
        await own(made)
        own_stack.redis.kill()
        submitted = asyncio.create_task(made.submit(batch(0, 10, made.generation)))
        await asyncio.to_thread(wait_for, lambda: made._metrics.waiting_for is not None, 60)
        made.stop()
        with pytest.raises(Stopped):
            await submitted

    asyncio.run(run())


def test_wait_at_an_assignment_is_not_mistaken_for_being_stuck(
    own_stack: LocalStack, on_own: Settings, runner: MakeRunner
) -> None:
    """When Redis was away while partitions were claimed, no step is under way once they are."""
    made = runner(on_own)
    own_stack.redis.kill()

    async def run() -> None:
        claiming = asyncio.create_task(own(made))
        await asyncio.to_thread(wait_for, lambda: made._metrics.waiting_for == "claim partitions", 60)
        own_stack.redis.start()
        await claiming
        assert made._busy == {}

    asyncio.run(run())


def test_error_in_the_finishing_step_is_told(deployment: NewDeployment, runner: MakeRunner) -> None:
    """What goes wrong behind the event loop's back reaches it: the callback is called, and the next batch refused."""
    settings = deployment("a")
    made = runner(settings)
    told: list[BaseException] = []
    made.on_failure = told.append

    async def run() -> None:
        await own(made)
        await made.submit(batch(0, 10, made.generation))
        await made.drain()
        made._pipeline.owned[0].written["pos:transactions"] = 7  # as if Redis had gone back behind the worker's back
        await made.submit(batch(10, 10, made.generation))
        await asyncio.to_thread(wait_for, lambda: bool(told), 60)
        with pytest.raises(StateError):
            await made.submit(batch(20, 10, made.generation))

    asyncio.run(run())
    assert isinstance(told[0], StateError)


HANGING = """
import asyncio, sys, threading
from pathlib import Path
from features.store import RedisStore
from streams.bootstrap import load_judge
from streams.metrics import Metrics
from streams.panel import Fixed, Panel
from streams.pipeline import Pipeline
from streams.publish import Publisher
from streams.runner import Batch, Runner
from tests.streams.feed import Record
from bench.faults.poison import transaction
from vedette import SystemClock, load_settings

settings = load_settings(Path(sys.argv[1]), {{}})

class Hanging(RedisStore):
    def load(self, names):
        threading.Event().wait()  # a driver without a time-out

async def main():
    pipeline = Pipeline(
        store=Hanging(settings.redis), publisher=Publisher(settings.kafka, settings.topics.prefix),
        judges=Fixed(Panel(load_judge(Path(settings.worker.model), Path(settings.worker.policy)))),
        partitions={partitions},
        prefix=settings.redis.prefix, cache_accounts=10, max_future_ms=1,
    )
    runner = Runner(pipeline, Metrics(), SystemClock(), stuck_after_s=2)
    runner.start_watchdog()
    {work}

asyncio.run(main())
"""
IN_A_STEP = """
    beating = asyncio.create_task(runner.beat())
    for partition in (await runner.assign({0})).values():
        partition.begin("transactions", 0)
    await runner.submit(Batch("transactions", {0: [Record(None, transaction(), 0, 0)]}, {0: 0}, runner.generation))
"""
IN_THE_LOOP = """
    beating = asyncio.create_task(runner.beat())
    await asyncio.sleep(0)
    threading.Event().wait()
"""


@pytest.mark.parametrize(("work", "stuck"), [(IN_A_STEP, "compute"), (IN_THE_LOOP, "event loop")], ids=["step", "loop"])
def test_watchdog_ends_a_worker_that_is_stuck(work: str, stuck: str, deployment: NewDeployment, tmp_path: Path) -> None:
    """A step that never returns, and an event loop that no longer turns, end the process with its own exit code."""
    settings = deployment("a")
    settings = msgspec.structs.replace(
        settings,
        worker=msgspec.structs.replace(
            settings.worker, model=str(ROOT / "models/demo"), policy=str(ROOT / "streams/policy.yaml")
        ),
    )
    file = tmp_path / "vedette.toml"
    file.write_text(describe(settings), encoding="utf-8")
    program = HANGING.format(partitions=PARTITIONS, work=work.strip())
    done = subprocess.run(
        [sys.executable, "-c", program, str(file)], capture_output=True, text=True, timeout=120, check=False, cwd=ROOT
    )
    assert done.returncode == EXIT_STUCK, done.stderr
    assert stuck in done.stdout + done.stderr


def test_watchdog_gives_the_event_loop_time_to_start(deployment: NewDeployment, runner: MakeRunner) -> None:
    """As long as the event loop has not begun to turn, its silence is no reason to end the process."""
    made = runner(deployment("a"))
    made.start_watchdog()
    assert made._loop_seen > 1e300
    made.stop()
