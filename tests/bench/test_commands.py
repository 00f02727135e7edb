"""Each benchmark once as a command, small: every figure is there, and what must be zero is."""

import json
import shutil
from typing import Any

import pytest

from tests.command import vedette
from tests.conftest import missing
from vedette.errors import UnavailableError

pytestmark = [pytest.mark.servers, pytest.mark.slow]
EMBEDDED = ("--broker", "embedded", "--redis", "embedded")


def measured(*arguments: str) -> dict[str, Any]:
    """The figures of a benchmark."""
    done = vedette("bench", *arguments, "--json")
    if done.returncode and "is not installed" in done.stderr:
        missing(UnavailableError(done.stderr))
    assert done.returncode == 0, done.stderr
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


@pytest.mark.runs("bench gateway")
def test_every_payment_through_the_gateway_is_accounted_for() -> None:
    """Each request is answered, also those of vegeta where it is installed; each answered payment has one decision."""
    options = ("--rate", "40", "--seconds", "2", "--partitions", "2", *EMBEDDED)
    vegeta = shutil.which("vegeta") or ""
    figures = measured("gateway", *options, *(("--vegeta", vegeta) if vegeta else ()))
    assert figures["sent"] == 80
    assert (figures["errors"], figures["lost"], figures["doubled"]) == (0, 0, 0)
    assert figures["p50_ms"] <= figures["p99_ms"] <= figures["p999_ms"]
    assert figures["worker_p99_ms"] >= 0
    assert figures["gateway_mb"] > 0
    assert (figures["vegeta"] is not None) == bool(vegeta)


@pytest.mark.runs("bench workers")
@pytest.mark.kafka
def test_two_workers_lose_and_double_nothing() -> None:
    """Every transaction gets exactly one decision, and each worker decides on a fair share of them."""
    figures = measured("workers", "--transactions", "10000", "--accounts", "2000")
    assert (figures["lost"], figures["doubled"]) == (0, 0)
    assert 0.1 < figures["second_share"] < 0.9


@pytest.mark.runs("bench archive")
def test_every_figure_of_the_archive_is_measured() -> None:
    """Decisions come from a broker; payments are written, compacted and queried."""
    options = ("--payments", "8000", "--decisions", "2000", "--days", "2", "--broker", "embedded")
    figures = measured("archive", *options)
    assert figures["rows"] == 8_000
    assert all(value > 0 for value in figures.values())
    assert figures["bytes_per_payment"] < 1_000


@pytest.mark.runs("bench latency")
def test_latency_is_measured() -> None:
    """Percentiles rise, and every decision is counted."""
    figures = measured("latency", "--only", "vedette", "--rate", "20", "--seconds", "1", "--turns", "1", *EMBEDDED)
    (row,) = figures["medians"]
    assert row["contender"] == "vedette"
    assert row["decisions"] == pytest.approx(20, abs=1)  # the last second may begin or end within a payment
    assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"] <= row["p999_ms"]


@pytest.mark.runs("bench throughput")
def test_throughput_is_measured() -> None:
    """All four have a rate."""
    figures = measured("throughput", "--transactions", "12000", "--accounts", "1000", "--partitions", "1", *EMBEDDED)
    assert min(figures[name] for name in ("vedette", "naive", "quix", "limit")) > 0
    assert figures["stages_us"]["score"] > 0


@pytest.mark.runs("bench growth")
def test_growth_is_measured() -> None:
    """The rates of two runs, and the memory of the second."""
    figures = measured("growth", "--transactions", "12000", "--few", "100", "--many", "1000", *EMBEDDED)
    assert all(value > 0 for value in figures.values())


@pytest.mark.runs("bench recovery")
def test_recovery_is_measured() -> None:
    """A killed worker is replaced."""
    figures = measured("recovery", *EMBEDDED)
    assert figures["seconds"] > 0
    assert figures["named"]


@pytest.mark.runs("bench state")
def test_bytes_of_an_account_are_measured() -> None:
    """Redis needs more than the blobs in it."""
    figures = measured("state", "--accounts", "1000", "--redis", "embedded")
    assert figures["accounts"] == 1_000
    assert 0 < figures["blob_bytes"] < figures["bytes_per_account"]


@pytest.mark.runs("bench challenges")
def test_one_of_parallel_answers_succeeds_and_guessing_is_blocked() -> None:
    """However many are sent at once."""
    figures = measured("challenges", "--challenges", "100", "--guesses", "100", *EMBEDDED)
    assert (figures["parallel_successes"], figures["blocked"], figures["settled_per_s"] > 0) == (1, True, True)


@pytest.mark.runs("bench hostile")
def test_honest_challenges_succeed_among_hostile_clients() -> None:
    """None is refused."""
    figures = measured("hostile", "--clients", "5", "--seconds", "2", *EMBEDDED)
    assert figures["challenges"] > 0
    assert figures["not_approved"] == 0


@pytest.mark.runs("bench notify")
def test_every_alert_becomes_one_sms() -> None:
    """Of twenty teams in as many countries, without a kill."""
    figures = measured("notify", "--alerts", "40", "--kill-every", "0", "--broker", "embedded")
    assert {name: figures[name] for name in ("alerts", "kills", "lost", "doubled", "unknown")} == {
        "alerts": 40, "kills": 0, "lost": 0, "doubled": 0, "unknown": 0,
    }  # fmt: skip


@pytest.mark.runs("bench faults")
def test_a_fault_is_a_row() -> None:
    """A model that is cut short ends the worker before it decides anything."""
    (row,) = measured("faults", "--only", "20", *EMBEDDED)["faults"]
    assert (row["fault"], row["held"], row["why"]) == (20, True, "")
