from pathlib import Path

import pytest

from bench.faults.deployment import Deployment
from bench.faults.run import chosen, run_all, run_scenario
from bench.faults.scenarios import SCENARIOS, FaultScenario
from bench.faults.stream import Stream
from bench.measurement import Setup
from stack.local import LocalStack
from streams.history.run_output import Difference, RunOutput
from tests.conftest import missing
from vedette.errors import InputError, UnavailableError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.mark.kafka
@pytest.mark.parametrize("scenario", SCENARIOS, ids=[f"{each.fault}-{each.what}" for each in SCENARIOS])
def test_fault_leaves_no_trace(
    scenario: FaultScenario, own_apache: LocalStack, stream: Stream, small_calm: RunOutput, tmp_path: Path
) -> None:
    """After the fault nothing is lost, duplicated or changed, and meanwhile the worker reported it correctly."""
    result = run_scenario(scenario, own_apache, stream.small(), small_calm, tmp_path)
    assert (result.why, result.difference) == ("", Difference())


def test_unknown_fault_is_refused() -> None:
    """A number that is not a fault is named, with the valid ones."""
    with pytest.raises(InputError, match=r"there is no fault 11 — one of 1, 2, 3"):
        chosen([1, 11])


def test_a_scenario_that_cannot_be_run_is_a_row_and_the_rest_goes_on(tmp_path: Path) -> None:
    """A scenario that breaks the servers and fails, even with an unexpected error, leaves the next unharmed."""

    def break_everything(run: Deployment) -> float:
        run.stack.broker.kill()
        run.stack.redis.kill()
        raise RuntimeError("the scenario itself is broken")

    def nothing(run: Deployment) -> float:
        run.worker()
        for part in (run.stream.history, run.stream.burst):
            run.publish(part)
            run.finish()
        return 0.0

    scenarios = [FaultScenario(91, "everything breaks", break_everything), FaultScenario(92, "nothing", nothing)]
    try:
        results = list(run_all(Setup(tmp_path, "embedded", "embedded"), scenarios))
    except UnavailableError as error:
        missing(error)
    rows = [result.row(scenario) for scenario, result in results]
    assert [(row["fault"], row["held"]) for row in rows] == [(91, False), (92, True)]
    assert rows[0]["why"] == "RuntimeError: the scenario itself is broken"
    assert (rows[0]["lost"], rows[1]["lost"]) == (None, 0)
