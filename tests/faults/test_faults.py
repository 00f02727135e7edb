from pathlib import Path

import pytest

from bench.faults.outcome import Difference, Outcome
from bench.faults.scenarios import SCENARIOS, Scenario
from bench.faults.stream import Stream
from bench.faults.trial import attempt, chosen
from stack.local import LocalStack
from vedette.errors import InputError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.mark.kafka
@pytest.mark.parametrize("scenario", SCENARIOS, ids=[f"{each.fault}-{each.what}" for each in SCENARIOS])
def test_fault_leaves_no_trace(
    scenario: Scenario, own_apache: LocalStack, stream: Stream, small_calm: Outcome, tmp_path: Path
) -> None:
    """After the fault nothing is lost, doubled or changed, and while it lasted the worker did and said what it must."""
    trial = attempt(scenario, own_apache, stream.small(), small_calm, tmp_path)
    assert (trial.failure, trial.difference) == ("", Difference())


def test_unknown_fault_is_refused() -> None:
    """A number that is no fault is named, with those that are."""
    with pytest.raises(InputError, match=r"there is no fault 11 — one of 1, 2, 3"):
        chosen([1, 11])
