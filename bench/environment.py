"""The environment of every benchmark: a stack, topics, a load, a worker process, and its progress."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import psutil

from adapters.kafka_reader import TopicReader
from bench.measurement import Setup
from features.store import RedisStore
from producers.publisher import TransactionPublisher
from producers.simulation import Simulation
from producers.simulator import simulate
from stack.local import LocalStack
from stack.process import free_ports
from stack.topics import apply
from vedette import Settings, VedetteError
from vedette.settings import KafkaSettings, RedisSettings, TopicSettings, WorkerSettings
from vedette.topics import Name

_ENDLESS = 10**12
"""More events than in any run."""
_TERMINALS = 5_000
"""Maximum number of terminals: the simulator stores every terminal near each customer."""


@dataclass(frozen=True)
class BenchEnvironment:
    """A running stack with topics, and the settings that lead to it."""

    settings: Settings
    directory: Path
    stack: LocalStack

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables under which a `vedette` command uses this stack."""
        variables = {name: value for name, value in os.environ.items() if not name.startswith("VEDETTE_")}
        for section in ("kafka", "topics", "redis", "decisions", "worker"):
            values = msgspec.to_builtins(getattr(self.settings, section))
            for key, value in values.items():
                if isinstance(value, str | int | float):  # not what is unset, nor an empty table
                    variables[f"VEDETTE_{section.upper()}__{key.upper()}"] = str(value)
        return variables

    def with_prefix(self, prefix: str) -> "BenchEnvironment":
        """Return an environment with topics, state and consumer group under another prefix, on the same stack."""
        replaced = msgspec.structs.replace
        settings = replaced(
            self.settings,
            topics=replaced(self.settings.topics, prefix=prefix),
            redis=replaced(self.settings.redis, prefix=prefix),
            worker=replaced(self.settings.worker, group=f"{prefix}worker"),
        )
        apply(settings)
        return replace(self, settings=settings)

    def with_own_metrics(self) -> "BenchEnvironment":
        """Return the same environment for one more worker with a separate port for metrics."""
        (port,) = free_ports(1, avoid={self.settings.worker.metrics_port})
        worker = msgspec.structs.replace(self.settings.worker, metrics_port=port)
        return replace(self, settings=msgspec.structs.replace(self.settings, worker=worker))

    def load(self, transactions: int, accounts: int, seed: int = 0) -> int:
        """Publish simulated transactions of this many accounts, and return how many were published."""
        sent = 0
        days = max(1, round(transactions / (2 * accounts) + 0.5))
        terminals = min(max(accounts // 10, 100), _TERMINALS)
        config = Simulation(customers=accounts, terminals=terminals, days=days + 1, seed=seed, returns=0)
        with TransactionPublisher(self.settings) as publisher:
            for batch in simulate(config):
                part = batch.slice(0, transactions - sent)
                sent += publisher.send_transactions(part)
                publisher.send_labels(part, "bench")
                if sent == transactions:
                    break
        return sent

    def applied(self, store: RedisStore, topic: Name = Name.TRANSACTIONS) -> int:
        """Return the number of messages of a topic that are applied to the store, over all partitions."""
        return sum(store.positions(topic, range(self.settings.topics.partitions)).values())

    def messages(self, topic: Name) -> int:
        """Return the number of messages on a topic, over all partitions."""
        with closing(TopicReader(self.settings, topic)) as reader:
            return reader.messages

    def worker(self) -> "AbstractContextManager[subprocess.Popen[bytes]]":
        """Run a `vedette worker` process, stopped at the end; its log is `worker.log` in the directory."""
        return self._process("worker.log", "cli", "worker")

    def reference(self, module: str) -> "AbstractContextManager[subprocess.Popen[bytes]]":
        """Run a reference until the end, for any number of events; its log is `<module>.log`."""
        return self._process(f"{module}.log", module, *_reference_arguments(self.settings, _ENDLESS))

    @contextmanager
    def _process(self, log_name: str, module: str, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
        with (self.directory / log_name).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, *arguments],
                env=self.environment, stdout=log, stderr=log, cwd=self.directory,
            )  # fmt: skip
            try:
                yield process
            finally:
                process.send_signal(signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(20)
                process.kill()
                process.wait()

    def owns(self) -> bool:
        """Return whether the worker answers and owns a partition."""
        with suppress(OSError):
            return self.metrics()["vedette_partitions"] > 0
        return False

    def cpu_s(self, workers: "Sequence[subprocess.Popen[bytes]]") -> dict[str, float]:
        """Return the processor seconds used so far by these workers together, by the broker, and by Redis."""
        parts = {
            "worker": [worker.pid for worker in workers],
            "broker": [self.stack.broker.pid],
            "redis": [self.stack.redis.pid],
        }
        times = {part: [psutil.Process(pid).cpu_times() for pid in pids] for part, pids in parts.items()}
        return {part: sum(each.user + each.system for each in of) for part, of in times.items()}

    def metrics(self) -> dict[str, float]:
        """Return the worker's metrics by name, labels included."""
        url = f"http://{self.settings.worker.metrics_host}:{self.settings.worker.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return {
            name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        }


@contextmanager
def environment(setup: Setup, *, partitions: int = 4, instance: str = "") -> Iterator[BenchEnvironment]:
    """Start a stack in the setup's directory and create the topics."""
    with LocalStack(setup.directory / "stack", setup.broker, setup.redis) as stack:
        (port,) = free_ports(1)
        settings = Settings(
            kafka=KafkaSettings(bootstrap_servers=stack.bootstrap_servers),
            topics=TopicSettings(partitions=partitions, prefix="bench."),
            redis=RedisSettings(url=stack.redis_url),
            worker=WorkerSettings(metrics_port=port, instance=instance),
        )
        apply(settings)
        yield BenchEnvironment(settings, setup.directory, stack)


def wait_until(
    reached: Callable[[], bool], within_s: float, what: str, worker: "subprocess.Popen[bytes] | None" = None,
    *, every_s: float = 0.01,
) -> float:  # fmt: skip
    """Poll a condition until it holds, and return the time by the performance counter.

    Raises:
        VedetteError: The condition did not hold in time, or the worker ended.
    """
    deadline = time.perf_counter() + within_s
    while time.perf_counter() < deadline:
        if reached():
            return time.perf_counter()
        if worker and worker.poll() is not None:
            raise VedetteError(f"the worker ended with exit code {worker.returncode} before {what}")
        time.sleep(every_s)
    raise VedetteError(f"{what} did not happen within {within_s:.0f} s")


def per_second(transactions: int, seconds: float) -> float:
    """Return the rate of what a worker has applied after its first batch.

    Raises:
        VedetteError: It has applied nothing since.
    """
    if not transactions:
        raise VedetteError(
            "the worker took all transactions in its first batches, so there is no rate",
            remedy="measure more of them: --transactions",
        )
    return transactions / seconds


def run_reference(module: str, bench: BenchEnvironment, events: int, within_s: float) -> float:
    """Run a reference as a separate process, and return its events per second."""
    finished = subprocess.run(
        [sys.executable, "-P", "-m", module, *_reference_arguments(bench.settings, events)],
        capture_output=True, text=True, timeout=within_s, check=False, env=bench.environment, cwd=bench.directory,
    )  # fmt: skip
    lines = [line for line in finished.stdout.splitlines() if line.startswith("{")]  # Faust prints other lines
    if finished.returncode or not lines:
        raise VedetteError(f"reference {module} failed: {finished.stderr.strip()[-500:]}")
    return float(json.loads(lines[-1])["rate_per_s"])


def _reference_arguments(settings: Settings, events: int) -> list[str]:
    return [
        settings.kafka.bootstrap_servers,
        settings.redis.url,
        settings.topics.prefix,
        str(settings.decisions.model_folder / "model.txt"),
        str(events),
    ]
