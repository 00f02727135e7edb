import asyncio
import dataclasses
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from decisions.policy_form import Degraded
from decisions.strategy import Strategy
from producers.poison import transaction
from stack.local import LocalStack
from streams.health import Attempt, Health, Step
from streams.history.run_output import Topics, state
from streams.metrics import Metrics
from streams.retry import Stopped
from streams.runner import Batch, Runner
from streams.watchdog import EXIT_STUCK, Watchdog
from tests.conftest import ROOT, running, wait_for
from tests.streams.conftest import PARTITIONS, MakePipeline, NewDeployment
from tests.streams.feed import Record
from vedette import SystemClock
from vedette.errors import StateError, VedetteError
from vedette.events import Decision
from vedette.settings import Settings
from vedette.settings_page import describe
from vedette.topics import Name

MakeRunner = Callable[[Settings], Runner]


@pytest.fixture
def runner(pipeline: MakePipeline) -> MakeRunner:
    """Makes a runner with its own pipeline."""

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
    """Claim all partitions and begin to read."""
    for partition in (await runner.assign(set(range(PARTITIONS)))).values():
        partition.begin(Name.TRANSACTIONS, start)


def test_watermark_follows_what_is_finished(deployment: NewDeployment, runner: MakeRunner) -> None:
    """What may be committed to Kafka is what Redis has: nothing before the first batch, then the end of the last."""
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


def test_the_time_in_each_hand_over_is_counted(deployment: NewDeployment, pipeline: MakePipeline) -> None:
    """A batch waits for a positive time before computing and before finishing."""
    metrics = Metrics()
    made = Runner(pipeline(deployment("a")), metrics, SystemClock(), stuck_after_s=60)

    async def run() -> None:
        await own(made)
        await made.submit(batch(0, 10, made.generation))
        await made.drain()

    asyncio.run(run())
    for stage in ("wait_compute", "wait_finish"):
        waited = metrics.registry.get_sample_value("vedette_stage_seconds_total", {"stage": stage})
        assert waited is not None
        assert 0 < waited < 60


def test_batch_of_an_earlier_assignment_is_dropped(deployment: NewDeployment, runner: MakeRunner) -> None:
    """What was fetched before the latest assignment is discarded, and fetched again from the watermark."""
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
    """A batch that does not begin where the previous one ended raises an error, so nothing is skipped silently."""
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
    """Offsets that compaction, retention or transactions have removed from the log do not stop the worker."""
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
        assert former._metrics.partitions_lost._value.get() == 1
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
        await asyncio.to_thread(wait_for, lambda: made._metrics.health.waiting_for == "load state", 60)
        assert not submitted.done()
        own_stack.redis.start()
        await submitted
        await made.drain()
        assert made._metrics.health.waiting_for is None
        assert made.watermark(Name.TRANSACTIONS, 0) == 10

    asyncio.run(run())


@pytest.fixture
def hasty(strategy: Strategy) -> Strategy:
    """A deployment whose policy does not let payments wait for Redis."""
    form = msgspec.structs.replace(strategy.policy.form, degraded=Degraded(after_s=0.2))
    return dataclasses.replace(strategy, policy=dataclasses.replace(strategy.policy, form=form))


def test_payments_do_not_wait_for_redis_longer_than_the_policy_says(
    own_stack: LocalStack, on_own: Settings, deployment: NewDeployment, pipeline: MakePipeline, hasty: Strategy,
    topics: Callable[[Settings], Topics],
) -> None:  # fmt: skip
    """They are decided without history, and again once Redis is back, as by a worker that never missed it."""
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
        await asyncio.to_thread(wait_for, lambda: made._metrics.health.without_history, 60)
        await made.submit(batch(20, 10, made.generation))
        assert made._metrics.degraded_decisions._value.get() == 10
        assert made.watermark(Name.TRANSACTIONS, 0) == 10
        looking = asyncio.create_task(made.look())
        own_stack.redis.start()
        await asyncio.to_thread(wait_for, lambda: made.may_resume, 60)
        looking.cancel()
        await own(made, start=10)
        assert not made._metrics.health.without_history
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
    own_stack: LocalStack, on_own: Settings, pipeline: MakePipeline, hasty: Strategy
) -> None:
    """When Redis is back and others have all partitions, it no longer says that it decides without history."""
    made = Runner(pipeline(on_own, hasty), Metrics(), SystemClock(), stuck_after_s=60)

    async def run() -> None:
        await own(made)
        own_stack.redis.kill()
        await made.submit(batch(0, 10, made.generation))
        assert made._metrics.health.without_history
        own_stack.redis.start()
        await made.assign(set())
        assert not made._metrics.health.without_history
        assert made._metrics.health.waiting_for is None

    asyncio.run(run())


def test_stopping_ends_the_wait_for_parts_that_are_away(
    own_stack: LocalStack, on_own: Settings, runner: MakeRunner
) -> None:
    """A worker told to stop does not wait for Redis to come back; what was not written is done again later."""
    made = runner(on_own)

    async def run() -> None:
        await own(made)
        own_stack.redis.kill()
        submitted = asyncio.create_task(made.submit(batch(0, 10, made.generation)))
        await asyncio.to_thread(wait_for, lambda: made._metrics.health.waiting_for is not None, 60)
        made.stop()
        with pytest.raises(Stopped):
            await submitted

    asyncio.run(run())


def test_wait_at_an_assignment_is_not_mistaken_for_being_stuck(
    own_stack: LocalStack, on_own: Settings, runner: MakeRunner
) -> None:
    """When Redis was away while partitions were claimed, no step is in progress once they are."""
    made = runner(on_own)
    own_stack.redis.kill()

    async def run() -> None:
        claiming = asyncio.create_task(own(made))
        await asyncio.to_thread(wait_for, lambda: made._metrics.health.waiting_for == "claim partitions", 60)
        own_stack.redis.start()
        await claiming
        assert made.watchdog.busy == frozenset()

    asyncio.run(run())


def test_error_in_the_finishing_step_is_told(deployment: NewDeployment, runner: MakeRunner) -> None:
    """An error in the background thread reaches the event loop: the callback is called, and the next batch refused."""
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
from streams.bootstrap import load_strategy
from streams.metrics import Metrics
from decisions.rollout import Rollout, StaticStrategies
from streams.own_decisions import DecisionLog
from streams.pipeline import Pipeline
from streams.publish import ResultPublisher
from streams.runner import Batch, Runner
from streams.topic_check import check_topics
from tests.streams.feed import Record
from producers.poison import transaction
from vedette import SystemClock, load_settings

settings = load_settings(Path(sys.argv[1]), {{}})

class Hanging(RedisStore):
    def load(self, names):
        threading.Event().wait()  # a driver without a time-out

async def main():
    pipeline = Pipeline(
        store=Hanging(settings.redis),
        decisions=DecisionLog(settings),
        publisher=ResultPublisher(settings.kafka, settings.topics.prefix, check_topics(settings)),
        strategies=StaticStrategies(
            Rollout(load_strategy(settings.decisions.model_folder, settings.decisions.policy_file))
        ),
        partitions={partitions},
        prefix=settings.redis.prefix, cache_accounts=10, max_future_ms=1,
    )
    runner = Runner(pipeline, Metrics(), SystemClock(), stuck_after_s=2)
    runner.watchdog.start()
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
    """A step that never returns, and an event loop that no longer runs, end the process with a distinct exit code."""
    settings = deployment("a")
    file = tmp_path / "vedette.toml"
    file.write_text(describe(settings), encoding="utf-8")
    program = HANGING.format(partitions=PARTITIONS, work=work.strip())
    done = subprocess.run(
        [sys.executable, "-c", program, str(file)], capture_output=True, text=True, timeout=120, check=False, cwd=ROOT
    )
    assert done.returncode == EXIT_STUCK, done.stderr
    assert stuck in done.stdout + done.stderr


def test_watchdog_gives_the_event_loop_time_to_start() -> None:
    """Until the event loop has started, its silence means nothing; afterwards it ends the process."""
    watchdog = Watchdog(60.0, list, threading.Event())
    assert watchdog.stuck(time.monotonic() + 1e6) is None
    watchdog.beat()
    assert watchdog.stuck(time.monotonic() + 59) is None
    assert watchdog.stuck(time.monotonic() + 61) == "event loop"


def test_watchdog_leaves_waiting_out_of_a_step() -> None:
    """A step is stuck once it takes longer than the limit, not counting the time it waits for a server."""
    watchdog = Watchdog(60.0, list, threading.Event())
    with watchdog.step(Step.FINISH):
        later = time.monotonic() + 61
        assert watchdog.stuck(later) == Step.FINISH
        with watchdog.paused(Step.FINISH):
            assert watchdog.stuck(later) is None
        assert watchdog.stuck(time.monotonic() + 61) == Step.FINISH
    assert watchdog.stuck(later) is None


def test_one_step_that_proceeds_does_not_hide_what_the_other_waits_for() -> None:
    """While computing succeeds and finishing waits for the broker, the worker is not ready."""
    health = Health()
    health.waits(Step.FINISH, Attempt.PUBLISH)
    health.waits(Step.COMPUTE, Attempt.LOAD)
    health.proceeds(Step.COMPUTE)
    assert health.waiting_for == "publish"
    health.proceeds(Step.FINISH)
    assert health.waiting_for is None
    health.without_history = True
    assert health.waiting_for == "Redis"
