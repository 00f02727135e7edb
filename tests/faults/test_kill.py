import numpy as np
import pytest

from tests.conftest import wait_for
from tests.faults.conftest import Deploy, Stream
from tests.faults.harness import PATIENCE_S
from tests.streams.outcome import Outcome
from vedette.topics import Name

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.mark.parametrize(
    ("stack_name", "seed"), [("embedded_stack", 1), pytest.param("apache_stack", 2, marks=pytest.mark.kafka)]
)
def test_kill_five_times(
    stack_name: str,
    seed: int,
    stream: Stream,
    undisturbed: Outcome,
    deploy: Deploy,
    request: pytest.FixtureRequest,
) -> None:
    """A worker killed five times in 100,000 payments leaves the same decisions, features and state as one left alone.

    Half of the kills strike as Redis shows a new watermark, half as the broker shows new decisions, so that both the
    step before and the step after publishing are hit; where within the next step they strike is chance.
    """
    deployment = deploy(request.getfixturevalue(stack_name))
    rng = np.random.default_rng(seed)
    for part, kills in ((stream.history, 2), (stream.burst, 3)):
        done = deployment.taken_in()
        deployment.publish(part)
        total = sum(deployment.topics.ends(Name.TRANSACTIONS).values()) - done
        for share in np.sort(rng.uniform(0.05, 0.9, kills)):
            progress = (deployment.taken_in, deployment.decided)[int(rng.integers(2))]
            moment = max(done + int(share * total), progress() + 1)
            worker = deployment.worker()
            wait_for(lambda progress=progress, moment=moment: progress() >= moment, PATIENCE_S)
            worker.kill()
            assert not deployment.done(), "killed in the middle"
        worker = deployment.worker()
        deployment.finish()
        worker.kill()
    outcome = deployment.outcome()
    outcome.check(deployment.published)
    outcome.same_as(undisturbed)
