"""Processor time of an idle demo: everything is running, everything is settled, and nothing happens."""

import subprocess
import sys
import time
from dataclasses import dataclass

import psutil

from bench.measurement import Measurement, Setup
from vedette.errors import UnavailableError

_TRANSACTIONS = 2_000
_SETTLED_WITHIN_S = 600.0
_SETTLE_S = 5.0


@dataclass(frozen=True)
class IdleLoad(Measurement):
    """Processors used while nothing happens; 1 is a whole processor."""

    seconds: float
    """Length of the measurement in seconds."""
    processors: dict[str, float]
    """Processors used by each process."""
    total: float


def measure(setup: Setup, seconds: int) -> IdleLoad:
    """Start a demo, wait until everything in it is settled, and measure its processes.

    Raises:
        UnavailableError: The demo does not settle.
    """
    log = setup.directory / "demo.log"
    command = [
        *(sys.executable, "-c", "from cli.main import main; main()", "demo", "--stay", "--rate", "0"),
        *("--transactions", str(_TRANSACTIONS), "--dir", str(setup.directory / "demo")),
        *("--broker", setup.broker, "--redis", setup.redis),
    ]
    with log.open("wb") as output:
        demo = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    try:
        setup.say("starting a demo and waiting until everything is settled")
        deadline = time.monotonic() + _SETTLED_WITHIN_S
        while "everything is settled" not in log.read_text(encoding="utf-8", errors="replace"):
            if demo.poll() is not None or time.monotonic() > deadline:
                raise UnavailableError(f"the demo did not settle; {log} says why")
            time.sleep(0.2)
        time.sleep(_SETTLE_S)
        setup.say(f"measuring for {seconds:g} s")
        return _measured(psutil.Process(demo.pid), seconds)
    finally:
        demo.terminate()
        demo.wait()


def _measured(demo: psutil.Process, seconds: float) -> IdleLoad:
    processes = [demo, *(process for process in demo.children(recursive=True) if process.name() != "sh")]
    before = [_used_s(process) for process in processes]
    began = time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    used = [(_used_s(process) - start) / took for process, start in zip(processes, before, strict=True)]
    named = dict(zip(map(_name, processes), (round(value, 4) for value in used), strict=True))
    return IdleLoad(round(took, 1), named, round(sum(used), 4))


def _used_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _name(process: psutil.Process) -> str:
    command = process.cmdline()
    if "--settings" in command:
        return " ".join(command[command.index("--settings") + 2 :])
    return "demo" if "demo" in command else process.name()
