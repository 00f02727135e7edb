"""One fault on one stack: a deployment of its own, the fault, and what it changed."""

import uuid
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.faults.deployment import Deployment
from bench.faults.outcome import Difference, Outcome
from bench.faults.redis_pair import RedisPair
from bench.faults.scenarios import SCENARIOS, Scenario
from bench.faults.stream import Stream, simulated
from bench.rig import MODEL, POLICY
from stack.broker import BrokerKind
from stack.local import LocalStack
from stack.redis_server import RedisKind
from vedette import Settings, VedetteError
from vedette.errors import InputError
from vedette.settings import KafkaSettings, RedisSettings, TopicSettings, WorkerSettings

_TRANSACTIONS = 30_000


@dataclass(frozen=True)
class Trial:
    """How a fault went."""

    seconds: float
    difference: Difference
    failure: str = ""
    """What did not hold while it happened."""

    @property
    def held(self) -> bool:
        """Whether the fault changed nothing."""
        return not self.difference and not self.failure


@contextmanager
def deployed(
    stack: LocalStack, stream: Stream, directory: Path, *, pair: bool = False, instance: str = ""
) -> Iterator[Deployment]:
    """A deployment with topics, keys and group of its own.

    Args:
        stack: Broker and Redis; both may be killed.
        stream: What it will publish.
        directory: For settings and logs.
        pair: Whether Redis is one with a replica and a Sentinel, started for it.
        instance: Name of its workers in the group, if there is only ever one at a time.
    """
    prefix = f"f{uuid.uuid4().hex[:8]}-"
    with ExitStack() as parts:
        redis_pair = parts.enter_context(RedisPair(directory / prefix, stack.redis.kind)) if pair else None
        settings = Settings(
            kafka=KafkaSettings(bootstrap_servers=stack.bootstrap_servers),
            topics=TopicSettings(prefix=prefix),
            redis=RedisSettings(url=redis_pair.url if redis_pair else stack.redis_url, prefix=prefix),
            worker=WorkerSettings(
                group=f"{prefix}worker",
                model=str(MODEL),
                policy=str(POLICY),
                metrics_port=0,
                session_timeout_s=6.0,  # the least that Apache Kafka allows
                instance=instance,
            ),
        )
        (directory / prefix).mkdir(parents=True, exist_ok=True)
        deployment = Deployment(stack, settings, stream, directory / prefix, redis_pair)
        parts.callback(deployment.stop)
        yield deployment


def undisturbed(stack: LocalStack, stream: Stream, directory: Path) -> Outcome:
    """What one worker makes of the stream when nothing happens to it.

    Raises:
        VedetteError: Even that went wrong.
    """
    with deployed(stack, stream, directory, instance="worker") as run:
        run.worker()
        for part in (stream.history, stream.burst):
            run.publish(part)
            run.finish()
        outcome = run.outcome()
        if difference := outcome.against(run.published):
            raise VedetteError(f"without any fault: {difference}")
    return outcome


def measure(
    directory: Path, *, only: Collection[int], broker: BrokerKind, redis: RedisKind
) -> Iterator[tuple[Scenario, Trial]]:
    """Every fault, or only some, one after the other on one stack.

    Raises:
        UnavailableError: A part is not installed or does not start.
        VedetteError: The run without faults went wrong.
    """
    stream = simulated(_TRANSACTIONS).small()
    with LocalStack(directory / "stack", broker, redis) as stack:
        expected = undisturbed(stack, stream, directory)
        for scenario in chosen(only):
            yield scenario, attempt(scenario, stack, stream, expected, directory)


def chosen(only: Collection[int]) -> list[Scenario]:
    """The scenarios of these faults, all if none is named.

    Raises:
        InputError: There is no scenario of a fault.
    """
    known = {scenario.fault for scenario in SCENARIOS}
    if unknown := set(only) - known:
        raise InputError(f"there is no fault {min(unknown)}", remedy=f"one of {', '.join(map(str, sorted(known)))}")
    return [scenario for scenario in SCENARIOS if not only or scenario.fault in only]


def attempt(scenario: Scenario, stack: LocalStack, stream: Stream, expected: Outcome, directory: Path) -> Trial:
    """Do one fault and compare what it left behind, bit for bit, with a run that nothing happened to."""
    instance = "worker" if scenario.alone else ""
    with deployed(stack, stream, directory, pair=scenario.pair, instance=instance) as run:
        seconds, failure = 0.0, ""
        try:
            seconds = scenario.strike(run)
        except VedetteError as error:
            failure = str(error)
        return Trial(round(seconds, 2), run.outcome().against(run.published, expected), failure)
