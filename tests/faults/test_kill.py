import numpy as np
import pytest

from bench.faults.deployment import PATIENCE_S
from bench.faults.stream import Stream
from stack.state import StackState
from streams.history.run_output import RunOutput
from tests.conftest import wait_for
from tests.faults.conftest import Deploy
from vedette.topics import Name


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_kill_five_times(embedded_stack: StackState, stream: Stream, calm: RunOutput, deploy: Deploy) -> None:
    """A worker killed five times in 30,000 payments leaves the same decisions, features and state as one left alone.

    Half of the kills strike as Redis shows a new watermark, half as the broker shows new decisions, so that both the
    step before and the step after publishing are hit; where within the next step they strike is chance.
    """
    deployment = deploy(embedded_stack, stream)
    rng = np.random.default_rng(1)
    for part, kills in ((stream.history, 2), (stream.burst, 3)):
        done = deployment.consumed()
        deployment.publish(part)
        total = sum(deployment.topics.ends(Name.TRANSACTIONS).values()) - done
        for share in np.sort(rng.uniform(0.05, 0.7, kills)):
            progress = (deployment.consumed, deployment.decided)[int(rng.integers(2))]
            moment = max(done + int(share * total), progress() + 1)
            worker = deployment.worker(batch_max=100)
            wait_for(lambda progress=progress, moment=moment: progress() >= moment, PATIENCE_S)
            worker.kill()
            assert not deployment.done(), "killed in the middle"
        worker = deployment.worker()
        deployment.finish()
        worker.kill()
    assert not deployment.output().against(deployment.published, calm)
