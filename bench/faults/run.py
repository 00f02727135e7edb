"""One fault on one stack: a separate deployment, the fault, and its effects."""

import uuid
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from bench.faults.deployment import Deployment
from bench.faults.scenarios import SCENARIOS, FaultScenario
from bench.faults.stream import Stream, simulated
from bench.measurement import Setup
from models.file_names import SETTLED_MODEL
from stack.local import LocalStack
from stack.redis_pair import RedisPair
from streams.history.run_output import Difference, RunOutput
from vedette import Settings, VedetteError
from vedette.errors import InputError, UnavailableError
from vedette.settings import DecisionSettings, KafkaSettings, RedisSettings, TopicSettings, WorkerSettings

_TRANSACTIONS = 30_000


@dataclass(frozen=True)
class FaultResult:
    """Result of a fault.

    Attributes:
        seconds: Time until the next payment was applied, as measured by the scenario.
        difference: Output of the run compared with the undisturbed run; None if it could not be read.
        why: The claim that failed, or the reason why the scenario could not be run; empty if it went as planned.
    """

    seconds: float
    difference: Difference | None
    why: str = ""

    @property
    def held(self) -> bool:
        """Whether the fault changed nothing."""
        return not self.why and not self.difference

    def row(self, scenario: FaultScenario) -> dict[str, Any]:
        """Return the row of the table, with counts of None where the output could not be read."""
        counts = {
            name: None if self.difference is None else len(getattr(self.difference, name))
            for name in ("lost", "doubled", "changed", "unlike")
        }
        return {
            "fault": scenario.fault, "what": scenario.what, "held": self.held, **counts, "seconds": self.seconds,
            "why": self.why,
        }  # fmt: skip


@contextmanager
def deployed(
    stack: LocalStack, stream: Stream, directory: Path, *, pair: bool = False, instance: str = ""
) -> Iterator[Deployment]:
    """Yield a deployment with separate topics, keys and group.

    Args:
        stack: Broker and Redis; both may be killed.
        stream: Messages to publish.
        directory: Folder of settings and logs.
        pair: Whether to start a separate Redis with a replica and a Sentinel.
        instance: Name of its worker in the group, if there is only one at a time.
    """
    prefix = f"f{uuid.uuid4().hex[:8]}-"
    with ExitStack() as parts:
        redis_pair = parts.enter_context(RedisPair(directory / prefix, stack.redis.kind)) if pair else None
        settings = Settings(
            kafka=KafkaSettings(bootstrap_servers=stack.bootstrap_servers),
            topics=TopicSettings(prefix=prefix),
            decisions=DecisionSettings(model=str(SETTLED_MODEL)),  # runs with and without a fault must decide alike
            redis=RedisSettings(url=redis_pair.url if redis_pair else stack.redis_url, prefix=prefix),
            worker=WorkerSettings(
                group=f"{prefix}worker",
                metrics_port=0,
                session_timeout_s=6.0,  # the minimum of Apache Kafka
                instance=instance,
            ),
        )
        (directory / prefix).mkdir(parents=True, exist_ok=True)
        deployment = Deployment(stack, settings, stream, directory / prefix, redis_pair)
        parts.callback(deployment.stop)
        yield deployment


def undisturbed(stack: LocalStack, stream: Stream, directory: Path) -> RunOutput:
    """Return the output of one worker without faults.

    Raises:
        VedetteError: The run without faults failed.
    """
    with deployed(stack, stream, directory, instance="worker") as run:
        run.worker()
        for part in (stream.history, stream.burst):
            run.publish(part)
            run.finish()
        output = run.output()
        if difference := output.against(run.published):
            raise VedetteError(f"the run without faults failed: {difference}")
    return output


def run_all(setup: Setup, scenarios: Sequence[FaultScenario]) -> Iterator[tuple[FaultScenario, FaultResult]]:
    """Run scenarios one after the other, and yield the result of each as soon as it is available.

    A failed scenario may leave the servers in any state, so the remaining scenarios get new ones.

    Raises:
        UnavailableError: A server is not installed or does not start for the first scenario.
        VedetteError: The run without faults failed.
    """
    stream = simulated(_TRANSACTIONS).small()
    expected: RunOutput | None = None
    remaining = deque(scenarios)
    for number in count():
        if not remaining:
            return
        directory = setup.directory / str(number)
        try:
            with LocalStack(directory / "stack", setup.broker, setup.redis) as stack:
                expected = expected or undisturbed(stack, stream, directory)
                held = True
                while remaining and held:
                    scenario = remaining.popleft()
                    result = run_scenario(scenario, stack, stream, expected, directory)
                    held = result.held
                    yield scenario, result
        except UnavailableError as error:
            if expected is None:
                raise
            if remaining:
                yield remaining.popleft(), FaultResult(0.0, None, _reason(error))


def chosen(only: Collection[int]) -> list[FaultScenario]:
    """Return the scenarios of these faults, all of them if none is named.

    Raises:
        InputError: There is no scenario of a fault.
    """
    known = {scenario.fault for scenario in SCENARIOS}
    if unknown := set(only) - known:
        raise InputError(f"there is no fault {min(unknown)}", remedy=f"one of {', '.join(map(str, sorted(known)))}")
    return [scenario for scenario in SCENARIOS if not only or scenario.fault in only]


def run_scenario(
    scenario: FaultScenario, stack: LocalStack, stream: Stream, expected: RunOutput, directory: Path
) -> FaultResult:
    """Inject one fault, and compare the output bit for bit with an undisturbed run; never raises."""
    seconds = 0.0
    difference: Difference | None = None
    why = ""
    try:
        instance = "worker" if scenario.alone else ""
        with deployed(stack, stream, directory, pair=scenario.pair, instance=instance) as run:
            try:
                seconds = scenario.strike(run)
            except Exception as error:  # noqa: BLE001 — the output is compared nevertheless
                why = _reason(error)
            difference = scenario.compare(run) if scenario.compare else run.output().against(run.published, expected)
    except Exception as error:  # noqa: BLE001 — a scenario that cannot be run is a row, and the others go on
        why = why or _reason(error)
    return FaultResult(round(seconds, 2), difference, why)


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, VedetteError) else f"{type(error).__name__}: {error}"
