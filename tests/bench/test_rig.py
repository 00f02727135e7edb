"""What every benchmark stands on."""

from pathlib import Path

from bench.rig import Rig
from stack.local import LocalStack
from tests.conftest import wait_for
from vedette.settings import Settings


def test_processor_time_is_told_apart_by_part(embedded_stack: LocalStack, settings: Settings, tmp_path: Path) -> None:
    """What the broker uses for a load is the broker's, whichever program it is, and no worker's."""
    bench = Rig(settings, tmp_path, embedded_stack)
    before = bench.cpu_s([])
    wait_for(lambda: bench.load(500, 50) > 0 and bench.cpu_s([])["broker"] > before["broker"])
    assert bench.cpu_s([]).keys() == {"worker", "broker", "redis"}
    assert bench.cpu_s([])["worker"] == 0
