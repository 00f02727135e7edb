"""Milliseconds from a payment's request to its answer: gateway, worker, broker, Redis and load on one machine.

The load is open; see bench.http_load.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import cycle

import msgspec
import numpy as np
import psutil

from access.admin import create
from adapters.kafka_reader import TopicReader
from bench import http_load
from bench.environment import BenchEnvironment, environment, wait_until
from bench.measurement import Measurement, Setup
from bench.vegeta import VegetaFigures
from bench.vegeta import run as run_vegeta
from producers.frame import rows_to_transactions
from producers.simulation import Simulation
from producers.simulator import simulate
from stack.gateway import GatewayProcess, gateway_settings
from vedette.clock import DAY
from vedette.errors import VedetteError
from vedette.events import Decision, Transaction
from vedette.topics import Name

_WARM_S = 10.0
_START_S = 180.0
_UNLIMITED = 1_000_000


@dataclass(frozen=True)
class GatewayFigures(Measurement):
    """Results of the gateway under a load.

    Attributes:
        rate: Requests per second.
        sent: Requests of the measurement.
        p50_ms: Median from the time a request was due to its answer, of those that were answered with 200.
        p99_ms: 99th percentile.
        p999_ms: 99.9th percentile.
        provisional: Answers by the policy's fallback.
        refused: Answers 503 and 429.
        errors: Other answers, and none.
        lost: Payments answered with 200 that have no decision on the topic.
        doubled: Decisions beyond the first of their payment.
        worker_p99_ms: 99th percentile from the publishing of a payment to the publishing of its decision.
        gateway_mb: Largest resident memory of the gateway, megabytes.
        vegeta: The same load by vegeta afterwards; None: it was not asked for.
    """

    rate: int
    sent: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    provisional: int
    refused: int
    errors: int
    lost: int
    doubled: int
    worker_p99_ms: float
    gateway_mb: int
    vegeta: VegetaFigures | None


@dataclass
class _Outcomes:
    """Outcomes of the requests of one load."""

    latencies: list[float] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    sent: int = 0
    provisional: int = 0
    refused: int = 0
    errors: int = 0

    def take(self, status: int, body: bytes, latency_ms: float) -> None:
        """Take an answer; 0 is none."""
        if status == 200:
            self.latencies.append(latency_ms)
            decision = _answer.decode(body)
            self.provisional += decision.provisional
            self.answered.append(decision.transaction_id)
        elif status in (429, 503):
            self.refused += 1
        else:
            self.errors += 1


class _Answer(msgspec.Struct):
    transaction_id: str
    provisional: bool


_answer = msgspec.json.Decoder(_Answer)


def measure(setup: Setup, *, rate: int, seconds: int, partitions: int, vegeta: str = "") -> GatewayFigures:
    """Measure a gateway and a worker under a load.

    Args:
        setup: Where to run.
        rate: Requests per second.
        seconds: Length of the measurement.
        partitions: Number of partitions of the topics.
        vegeta: The program vegeta, for the same load by it; empty: without.

    Raises:
        VedetteError: Vegeta or a process ended, or does not start.
    """
    with (
        environment(setup, partitions=partitions) as bench,
        bench.worker() as worker,
        _gateway(bench) as (gateway, key),
    ):
        wait_until(lambda: bench.owns() and gateway.ready, _START_S, "gateway and worker", worker, every_s=0.2)
        payments = _payments()
        setup.say(f"warming up at {rate:,}/s")
        _load(gateway, key, payments, min(rate, 500), _WARM_S)
        setup.say(f"measuring {seconds} s at {rate:,}/s")
        outcomes, memory = _load(gateway, key, payments, rate, seconds)
        foreign = None
        if vegeta:
            setup.say("the same by vegeta")
            foreign = run_vegeta(vegeta, gateway.url, key, payments, rate, seconds, bench.directory)
        if not gateway.running:
            raise VedetteError(f"the gateway has ended: {gateway.log_tail}")
        setup.say("waiting for the last decisions")
        accepted = bench.messages(Name.TRANSACTIONS)
        wait_until(
            lambda: bench.messages(Name.DECISIONS) >= accepted, _START_S, "the last decision", worker, every_s=0.5
        )
        return _figures(bench, rate, outcomes, memory, foreign)


def _figures(
    bench: BenchEnvironment, rate: int, outcomes: _Outcomes, memory: int, vegeta: VegetaFigures | None
) -> GatewayFigures:
    published = dict(_published(bench, Name.TRANSACTIONS, Transaction))
    decisions = list(_published(bench, Name.DECISIONS, Decision))
    decided = dict(reversed(decisions))
    measured = [float(decided[name] - published[name]) for name in outcomes.answered if name in decided]
    percentiles = np.percentile(outcomes.latencies or [float("inf")], (50.0, 99.0, 99.9))
    p50, p99, p999 = (round(float(value), 2) for value in percentiles)
    return GatewayFigures(
        rate=rate, sent=outcomes.sent, p50_ms=p50, p99_ms=p99, p999_ms=p999, provisional=outcomes.provisional,
        refused=outcomes.refused, errors=outcomes.errors,
        lost=sum(name not in decided for name in outcomes.answered),
        doubled=len(decisions) - len(decided),
        worker_p99_ms=round(float(np.percentile(measured or [float("inf")], 99.0)), 2),
        gateway_mb=memory // 1_000_000, vegeta=vegeta,
    )  # fmt: skip


def _published(
    bench: BenchEnvironment, topic: Name, kind: type[Transaction] | type[Decision]
) -> Iterator[tuple[str, int]]:
    """Yield the payment's id and the time of publishing of every message, milliseconds."""
    decoder = msgspec.json.Decoder(kind)
    with closing(TopicReader(bench.settings, topic)) as reader:
        for piece in reader:
            for message in piece:
                yield decoder.decode(message.value()).transaction_id, message.timestamp()[1]


@contextmanager
def _gateway(bench: BenchEnvironment) -> Iterator[tuple[GatewayProcess, str]]:
    """Run a gateway; yield it with an API key."""
    settings = gateway_settings(bench.settings, bench.directory)
    own = msgspec.structs.replace(settings.gateway, payments_per_s=_UNLIMITED)
    settings = msgspec.structs.replace(settings, gateway=own)
    key = create(settings, "bench", "payments", [], days=1).api_key
    gateway = GatewayProcess(settings, bench.directory)
    try:
        yield gateway, key
    finally:
        gateway.stop()


def _payments() -> Iterator[bytes]:
    """Yield simulated payments as JSON without end; every day is like the first."""
    config = Simulation(customers=20_000, terminals=2_000, days=3, seed=7)
    events = rows_to_transactions(next(simulate(config)))
    for number, event in enumerate(cycle(events)):
        shifted = event.event_time + number // len(events) * DAY
        yield msgspec.json.encode(msgspec.structs.replace(event, transaction_id=f"p{number}", event_time=shifted))


def _load(
    gateway: GatewayProcess, key: str, payments: Iterator[bytes], rate: int, seconds: float
) -> tuple[_Outcomes, int]:
    """Send payments at a rate; return what became of them, and the largest memory of the gateway in bytes."""
    outcomes, memory, process = _Outcomes(), 0, psutil.Process(gateway.pid)
    host, port = gateway.url.removeprefix("http://").split(":")
    head = (
        f"POST /v1/decisions HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {key}\r\nContent-Type: application/json\r\n"
    ).encode()

    def watch() -> None:
        nonlocal memory
        memory = max(memory, process.memory_info().rss)

    requests = (head + f"Content-Length: {len(body)}\r\n\r\n".encode() + body for body in payments)
    outcomes.sent = http_load.run(host, int(port), requests, rate, seconds, outcomes.take, watch)
    watch()
    return outcomes, memory
