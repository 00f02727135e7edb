from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from stack.local import LocalStack
from tests.conftest import running, wait_for
from tests.faults.conftest import Deploy, Stream
from tests.faults.harness import PATIENCE_S, Deployment, Worker, until
from tests.streams.outcome import Outcome
from vedette import keys

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SLOW = 25
"""Messages a batch, so that a burst lasts long enough for something to break in the middle of it."""


@pytest.fixture
def own_embedded(tmp_path: Path) -> Iterator[LocalStack]:
    """An embedded stack whose parts may be killed."""
    yield from running(LocalStack(tmp_path / "stack"))


@pytest.fixture
def own_apache(tmp_path: Path) -> Iterator[LocalStack]:
    """A stack of Apache Kafka and the system's Redis whose parts may be killed."""
    yield from running(LocalStack(tmp_path / "stack", "apache", "system"))


def in_burst(deployment: Deployment, stream: Stream, more: int = 1000, **changes: Any) -> Worker:
    """A worker in the middle of the burst."""
    worker = deployment.worker(batch_max=SLOW, **changes)
    deployment.publish(stream.history)
    deployment.finish()
    deployment.publish(stream.burst)
    further(deployment, more)
    return worker


def further(deployment: Deployment, more: int) -> None:
    """Wait until so many more messages have been taken in, with some still to come."""
    goal = deployment.taken_in() + more
    wait_for(lambda: deployment.taken_in() >= goal, PATIENCE_S)
    assert not deployment.done()


def finish(deployment: Deployment, expected: Outcome) -> None:
    """Take in the rest; nothing must tell of what happened."""
    deployment.finish()
    outcome = deployment.outcome()
    outcome.check(deployment.published)
    outcome.same_as(expected)


def test_redis_killed_twice_loses_nothing(
    own_embedded: LocalStack, deploy: Deploy, stream: Stream, small_undisturbed: Outcome
) -> None:
    """While Redis is away the worker waits and says so; when Redis is back it goes on, and nothing is lost."""
    deployment = deploy(own_embedded)
    worker = in_burst(deployment, stream.small())
    for _ in range(2):
        assert worker.get("/readyz")[0] == 200
        own_embedded.redis.kill()
        until(lambda: not worker.ready)
        status, body = worker.get("/readyz")
        assert (status, '"status": "waiting"' in body) == (503, True)
        assert worker.metric("vedette_degraded") == 1
        assert worker.get("/healthz")[0] == 200
        own_embedded.redis.start()
        until(lambda: worker.ready)
        further(deployment, 500)
    assert all("Redis" in event["because"] for event in worker.events("waiting"))
    assert worker.metric("vedette_degraded") == 0
    finish(deployment, small_undisturbed)
    assert worker.running


def test_redis_out_of_memory_loses_nothing(
    own_embedded: LocalStack, deploy: Deploy, stream: Stream, small_undisturbed: Outcome
) -> None:
    """A Redis that takes no more writes is waited for; given memory, it has everything as if nothing had been."""
    deployment = deploy(own_embedded)
    worker = in_burst(deployment, stream.small())
    with redis.Redis.from_url(own_embedded.redis_url) as client:
        client.config_set("maxmemory", 1)
        until(lambda: not worker.ready)
        client.config_set("maxmemory", 0)
    assert any("maxmemory" in event["because"] for event in worker.events("waiting"))
    finish(deployment, small_undisturbed)


def test_unreadable_state_stops_the_worker_until_it_is_repaired(
    own_embedded: LocalStack, deploy: Deploy, stream: Stream, small_undisturbed: Outcome
) -> None:
    """State that cannot be read ends the worker with a reason, before anything is decided on top of it."""
    deployment = deploy(own_embedded)
    part = stream.small()
    worker = in_burst(deployment, part)
    assert worker.stop() == 0
    prefix = deployment.settings.redis.prefix
    with redis.Redis.from_url(own_embedded.redis_url) as client:
        names = list(client.scan_iter(match=f"{keys.account(prefix, 0)}*", count=1000))
        blobs: Any = client.mget(names)
        client.mset(dict.fromkeys(names, b"\xffgarbage"))
        broken = deployment.worker()
        assert broken.exit_code() not in (0, None)
        assert "the state of account cannot be read" in broken.log.read_text(encoding="utf-8")
        client.mset(dict(zip(names, blobs, strict=True)))
    deployment.worker()
    finish(deployment, small_undisturbed)


@pytest.mark.kafka
def test_broker_killed_loses_nothing(
    own_apache: LocalStack, deploy: Deploy, stream: Stream, small_undisturbed: Outcome
) -> None:
    """A broker that is killed and comes back finds a worker that publishes again what it had not acknowledged."""
    deployment = deploy(own_apache)
    worker = in_burst(deployment, stream.small())
    own_apache.broker.kill()
    own_apache.broker.start()
    finish(deployment, small_undisturbed)
    assert worker.running
    assert worker.metric("vedette_fenced_total") == 0
    assert worker.stop() == 0
    for line in worker.log.read_text(encoding="utf-8").splitlines():
        assert {"event", "level", "logger", "timestamp"} <= msgspec.json.decode(line).keys()


def test_worker_ends_when_told_to_although_redis_is_away(
    own_embedded: LocalStack, deploy: Deploy, stream: Stream
) -> None:
    """A worker that waits for Redis can be stopped in order; what it had not written is left to the next one."""
    deployment = deploy(own_embedded)
    worker = in_burst(deployment, stream.small())
    own_embedded.redis.kill()
    until(lambda: not worker.ready)
    assert worker.stop() == 0
    own_embedded.redis.start()
