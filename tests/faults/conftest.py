"""The stream that is run with and without faults, and what a run without any leaves behind."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from producers.frame import rows_to_labels, rows_to_transactions
from producers.simulation import Simulation
from producers.simulator import simulate
from stack.broker import ApacheBroker
from stack.local import LocalStack
from tests.conftest import SettingsFor
from tests.faults.harness import ROOT, Deployment, Message
from tests.streams.outcome import Outcome
from tests.streams.poison import POISON
from vedette.clock import DAY
from vedette.topics import Name

Deploy = Callable[[LocalStack], Deployment]

TRANSACTIONS = 100_000
_PAUSE = (6, 8)
"""Days without payments. Merchant features look a week back: with the pause, and everything before it taken in before
anything after it is published, they never depend on which partition runs ahead."""
_DAYS = 14


@dataclass(frozen=True)
class Stream:
    """Simulated payments with their labels and with poison among them: what to publish first, and then."""

    history: list[Message]
    burst: list[Message]

    def small(self) -> "Stream":
        """The beginning of both."""
        return Stream(self.history[:2_000], self.burst[:6_000])


@pytest.fixture(scope="session")
def stream() -> Stream:
    """100,000 payments of two weeks, their labels, and every kind of poison several times."""
    config = Simulation(customers=4300, terminals=1200, days=_DAYS, seed=7)
    frame = pa.Table.from_batches(simulate(config))
    day = pc.divide(pc.subtract(frame["event_time"], config.start), DAY)
    history = frame.filter(pc.less(day, _PAUSE[0]))
    burst = frame.filter(pc.greater_equal(day, _PAUSE[1])).slice(0, TRANSACTIONS - len(history))
    assert len(history) + len(burst) == TRANSACTIONS
    rng = np.random.default_rng(7)
    return Stream(_messages(history, rng), _messages(burst, rng))


def _messages(table: pa.Table, rng: np.random.Generator) -> list[Message]:
    encode = msgspec.json.encode
    frame = table.combine_chunks().to_batches()[0]
    labels = {label.transaction_id: label for label in rows_to_labels(frame, "simulator")}
    messages: list[Message] = []
    for transaction in rows_to_transactions(frame):
        key = transaction.account_id.encode()
        messages.append(Message(Name.TRANSACTIONS, key, encode(transaction), transaction.transaction_id))
        if label := labels.get(transaction.transaction_id):
            messages.append(Message(Name.LABELS, key, encode(label)))
    for poison in POISON:
        at = int(rng.integers(len(messages)))
        messages.insert(at, Message(Name.TRANSACTIONS, messages[at].key, poison.value, poison=True))
    return messages


@pytest.fixture
def deploy(settings_for: SettingsFor, topic_prefix: str, tmp_path: Path) -> Iterator[Deploy]:
    """Makes a deployment on a stack."""
    yield from _deploying(settings_for, topic_prefix, tmp_path)


def _deploying(settings_for: SettingsFor, prefix: str, directory: Path) -> Iterator[Deploy]:
    made: list[Deployment] = []

    def make(stack: LocalStack) -> Deployment:
        settings = settings_for(stack, prefix)
        worker = msgspec.structs.replace(
            settings.worker,
            model=str(ROOT / "models/demo"),
            policy=str(ROOT / "streams/policy.yaml"),
            session_timeout_s=6.0,  # the least that Apache Kafka allows
            batch_max=1000,  # so that there are many moments to be killed at
            # The embedded broker never expels a member that has died, but a new one may take its place by name.
            instance="" if isinstance(stack.broker, ApacheBroker) else "worker-1",
        )
        settings = msgspec.structs.replace(settings, worker=worker)
        made.append(Deployment(settings, directory))
        return made[-1]

    yield make
    for deployment in made:
        deployment.stop()


@pytest.fixture(scope="session")
def undisturbed(stream: Stream, undisturbed_run: Callable[[Stream], Outcome]) -> Outcome:
    """What one worker makes of the stream when nothing happens to it."""
    return undisturbed_run(stream)


@pytest.fixture(scope="session")
def small_undisturbed(stream: Stream, undisturbed_run: Callable[[Stream], Outcome]) -> Outcome:
    """Likewise of the small stream."""
    return undisturbed_run(stream.small())


@pytest.fixture(scope="session")
def undisturbed_run(
    embedded_stack: LocalStack, settings_for: SettingsFor, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Stream], Outcome]:
    """Runs a stream without faults on the embedded stack."""

    def run(stream: Stream) -> Outcome:
        directory = tmp_path_factory.mktemp("undisturbed")
        for deploy in _deploying(settings_for, f"{directory.name}-", directory):
            deployment = deploy(embedded_stack)
            deployment.worker(batch_max=4000)
            for part in (stream.history, stream.burst):
                deployment.publish(part)
                deployment.finish()
            outcome = deployment.outcome()
        outcome.check(deployment.published)
        return outcome

    return run
