"""The same load by vegeta, a load generator that others have written: its percentiles check our own."""

import base64
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import msgspec

from vedette.errors import VedetteError

_ANSWER_S = 10.0


@dataclass(frozen=True)
class VegetaFigures:
    """What vegeta reports.

    Attributes:
        p50_ms: Median of the latencies of all requests.
        p99_ms: 99th percentile.
        refused: Answers other than 200, and none.
    """

    p50_ms: float
    p99_ms: float
    refused: int


class _Latencies(msgspec.Struct):
    p50: int = msgspec.field(name="50th")
    p99: int = msgspec.field(name="99th")


class _Report(msgspec.Struct):
    latencies: _Latencies
    requests: int
    status_codes: dict[str, int]


def run(
    program: str, url: str, key: str, payments: Iterator[bytes], rate: int, seconds: int, directory: Path
) -> VegetaFigures:
    """Send payments at a rate.

    Args:
        program: Name or path of vegeta.
        url: Address of the gateway.
        key: API key.
        payments: Payments as JSON.
        rate: Requests per second.
        seconds: For how long.
        directory: For the requests and the results.

    Raises:
        VedetteError: Vegeta is not there, or fails.
    """
    targets, results = directory / "vegeta-targets.json", directory / "vegeta-results.bin"
    with targets.open("wb") as file:
        for body in islice(payments, rate * seconds):
            target = {
                "method": "POST", "url": f"{url}/v1/decisions", "body": base64.b64encode(body).decode(),
                "header": {"X-API-Key": [key], "Content-Type": ["application/json"]},
            }  # fmt: skip
            file.write(msgspec.json.encode(target) + b"\n")
    _call(
        program, "attack", "-lazy", "-format=json", f"-targets={targets}", f"-rate={rate}/s", f"-duration={seconds}s",
        f"-timeout={_ANSWER_S:g}s", f"-output={results}",
    )  # fmt: skip
    report = msgspec.json.decode(_call(program, "report", "-type=json", str(results)), type=_Report)
    return VegetaFigures(
        p50_ms=round(report.latencies.p50 / 1e6, 2),
        p99_ms=round(report.latencies.p99 / 1e6, 2),
        refused=report.requests - report.status_codes.get("200", 0),
    )


def _call(program: str, *arguments: str) -> bytes:
    try:
        done = subprocess.run([program, *arguments], capture_output=True, check=False)
    except OSError as error:
        raise VedetteError(
            f"{program} cannot be run: {error.strerror}", remedy="go install github.com/tsenart/vegeta/v12@latest"
        ) from error
    if done.returncode:
        raise VedetteError(f"{program} {arguments[0]} failed: {done.stderr.decode(errors='replace').strip()[-300:]}")
    return done.stdout
