"""What every benchmark relies on."""

from pathlib import Path

import pytest

from bench.environment import BenchEnvironment, per_second
from stack.local import LocalStack
from stack.topics import apply
from tests.conftest import SettingsFor, wait_for
from vedette.errors import VedetteError


@pytest.mark.servers
def test_processor_time_is_told_apart_by_part(settings_for: SettingsFor, tmp_path: Path) -> None:
    """Processor time that the broker spends on a load is the broker's, whichever program it is, and no worker's."""
    with LocalStack(tmp_path / "stack") as stack:
        settings = settings_for(stack, "")
        apply(settings)
        bench = BenchEnvironment(settings, tmp_path, stack)
        before = bench.cpu_s([])
        wait_for(lambda: bench.load(500, 50) > 0 and bench.cpu_s([])["broker"] > before["broker"])
        assert bench.cpu_s([]).keys() == {"worker", "broker", "redis"}
        assert bench.cpu_s([])["worker"] == 0


def test_there_is_no_rate_of_nothing() -> None:
    """A worker that was done before the measurement began is neither infinitely fast nor standing still."""
    assert per_second(100, 4.0) == 25.0
    with pytest.raises(VedetteError, match="measure more of them: --transactions"):
        per_second(0, 0.0)
