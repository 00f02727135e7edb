import signal

import pytest
from confluent_kafka import Consumer, TopicPartition

from stack.local import LocalStack
from tests.conftest import wait_for
from tests.faults.conftest import Deploy, Stream
from tests.faults.harness import PATIENCE_S, Deployment, Worker, until
from tests.streams.outcome import Outcome
from vedette.topics import Name

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SLOW = 10
"""Messages a batch, so that a burst lasts long enough for a worker to start in the middle of it."""


@pytest.fixture(params=["embedded_stack", pytest.param("apache_stack", marks=pytest.mark.kafka)])
def deployment(request: pytest.FixtureRequest, deploy: Deploy) -> Deployment:
    """A deployment on each of the stacks in turn."""
    return deploy(request.getfixturevalue(request.param))


def settle(deployment: Deployment, stream: Stream) -> Worker:
    """Start a worker and have it take in the history."""
    worker = deployment.worker(batch_max=SLOW)
    deployment.publish(stream.history)
    deployment.finish()
    return worker


def reach(deployment: Deployment, more: int) -> None:
    """Wait until so many more messages have been taken in, with some still to come."""
    goal = deployment.taken_in() + more
    wait_for(lambda: deployment.taken_in() >= goal, PATIENCE_S)
    assert not deployment.done()


def committed(deployment: Deployment, topic: Name) -> dict[int, int]:
    """The offsets that the group has committed."""
    consumer = Consumer(
        deployment.settings.kafka.client_config() | {"group.id": deployment.settings.worker.group, "log_level": 0}
    )
    name = deployment.settings.topics.prefix + topic
    asked = [TopicPartition(name, number) for number in range(deployment.settings.topics.partitions)]
    answer = consumer.committed(asked, timeout=30)
    consumer.close()
    return {each.partition: max(each.offset, 0) for each in answer}


def test_orderly_stop_and_start_leave_no_trace(
    deployment: Deployment, stream: Stream, small_undisturbed: Outcome
) -> None:
    """A worker told to end finishes what it has begun and exits with 0, no offset committed ahead of its watermark."""
    part = stream.small()
    worker = settle(deployment, part)
    deployment.publish(part.burst)
    reach(deployment, 1000)
    assert worker.stop() == 0
    for topic in (Name.TRANSACTIONS, Name.LABELS, Name.ACTIVITY):
        hint, watermark = committed(deployment, topic), deployment.position(topic)
        assert all(0 < hint[number] <= watermark[number] for number in watermark)
    deployment.worker()
    deployment.finish()
    outcome = deployment.outcome()
    outcome.check(deployment.published)
    outcome.same_as(small_undisturbed)


@pytest.mark.kafka  # the embedded broker can forget a member that commits while others join
def test_workers_that_join_and_leave_in_a_burst_leave_no_trace(
    apache_stack: LocalStack, deploy: Deploy, stream: Stream, small_undisturbed: Outcome
) -> None:
    """Partitions that move to a second worker and back, while payments pour in, are counted once."""
    deployment = deploy(apache_stack)
    part = stream.small()
    first = settle(deployment, part)
    second = deployment.worker(batch_max=SLOW)
    until(lambda: bool(second.events("worker starts")))
    deployment.publish(part.burst)
    until(lambda: first.metric("vedette_partitions") == second.metric("vedette_partitions") == 2)
    reach(deployment, 500)
    assert first.stop() == 0
    until(lambda: second.metric("vedette_partitions") == 4)
    deployment.finish()
    outcome = deployment.outcome()
    outcome.check(deployment.published)
    outcome.same_as(small_undisturbed)


@pytest.mark.kafka
def test_worker_that_wakes_up_too_late_writes_nothing(
    apache_stack: LocalStack, deploy: Deploy, stream: Stream, small_undisturbed: Outcome
) -> None:
    """A worker frozen until others own its partitions is fenced off when it thaws, and takes part again."""
    deployment = deploy(apache_stack)
    part = stream.small()
    zombie = settle(deployment, part)
    deployment.publish(part.burst)
    reach(deployment, 1000)
    zombie.signal(signal.SIGSTOP)
    heir = deployment.worker()
    deployment.finish()
    zombie.signal(signal.SIGCONT)
    until(lambda: len(zombie.events("partitions assigned")) > 1)
    assert zombie.events("partition lost")
    assert heir.running
    deployment.finish()
    outcome = deployment.outcome()
    outcome.check(deployment.published)
    outcome.same_as(small_undisturbed)
