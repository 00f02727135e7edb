from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.faults.deployment import PATIENCE_S
from bench.faults.stream import Stream
from stack.local import LocalStack
from stack.state import StackState
from streams.history.run_output import RunOutput
from tests.conftest import running, wait_for
from tests.faults.conftest import Deploy
from vedette.topics import WORKER_INPUTS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def own_embedded(tmp_path: Path) -> Iterator[LocalStack]:
    """An embedded stack whose parts may be killed."""
    yield from running(LocalStack(tmp_path / "stack"))


def test_orderly_stop_and_start_leave_no_trace(
    embedded_stack: StackState, deploy: Deploy, stream: Stream, small_calm: RunOutput
) -> None:
    """A stopped worker finishes what it has begun and exits with 0, with no offset committed ahead of its watermark."""
    deployment = deploy(embedded_stack, stream.small())
    worker = deployment.in_burst()
    assert worker.stop() == 0
    for topic in WORKER_INPUTS:
        hint, watermark = deployment.committed(topic), deployment.position(topic)
        assert all(0 < hint[number] <= watermark[number] for number in watermark)
    deployment.worker()
    deployment.finish()
    assert not deployment.output().against(deployment.published, small_calm)


def test_worker_ends_when_told_to_although_redis_is_away(
    own_embedded: LocalStack, deploy: Deploy, stream: Stream
) -> None:
    """A worker that waits for Redis can be stopped in an orderly way; the next one takes over what was not written."""
    deployment = deploy(own_embedded, stream.small())
    worker = deployment.in_burst()
    own_embedded.redis.kill()
    wait_for(lambda: not worker.ready, PATIENCE_S)
    assert worker.stop() == 0
    own_embedded.redis.start()
