"""What every benchmark stands on: a stack, topics, a load, a worker process, and a look at how far it is."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import confluent_kafka
import msgspec
import psutil

import models
import streams
from features import RedisStore
from producers.publisher import Publisher
from producers.simulation import Simulation
from producers.simulator import simulate
from stack.local import LocalStack
from stack.process import free_ports
from stack.topics import apply
from vedette import Settings, VedetteError
from vedette.settings import KafkaSettings, RedisSettings, TopicSettings, WorkerSettings
from vedette.topics import Name

MODEL = Path(str(models.__file__)).parent / "demo"
POLICY = Path(str(streams.__file__)).parent / "policy.yaml"
_TERMINALS = 5_000
"""At most: the simulator keeps, for every customer, all that are near."""


@dataclass(frozen=True)
class Rig:
    """A running stack with topics, and the settings that lead to it."""

    settings: Settings
    directory: Path
    stack: LocalStack

    @property
    def environment(self) -> dict[str, str]:
        """The environment under which a `vedette` command uses this rig."""
        variables = {name: value for name, value in os.environ.items() if not name.startswith("VEDETTE_")}
        for section in ("kafka", "topics", "redis", "worker"):
            values = msgspec.to_builtins(getattr(self.settings, section))
            for key, value in values.items():
                if value is not None:
                    variables[f"VEDETTE_{section.upper()}__{key.upper()}"] = str(value)
        return variables

    def beside(self, prefix: str) -> "Rig":
        """Topics of another prefix on the same stack."""
        settings = msgspec.structs.replace(
            self.settings, topics=msgspec.structs.replace(self.settings.topics, prefix=prefix)
        )
        apply(settings)
        return replace(self, settings=settings)

    def apart(self) -> "Rig":
        """The same, for one more worker, whose metrics are elsewhere."""
        (port,) = free_ports(1, avoid={self.settings.worker.metrics_port})
        worker = msgspec.structs.replace(self.settings.worker, metrics_port=port)
        return replace(self, settings=msgspec.structs.replace(self.settings, worker=worker))

    def load(self, transactions: int, accounts: int, seed: int = 0) -> int:
        """Publish simulated transactions of this many accounts; how many those are, at least `transactions`."""
        sent = 0
        days = max(1, round(transactions / (2 * accounts) + 0.5))
        terminals = min(max(accounts // 10, 100), _TERMINALS)
        config = Simulation(customers=accounts, terminals=terminals, days=days + 1, seed=seed)
        with Publisher(self.settings) as publisher:
            for batch in simulate(config):
                part = batch.slice(0, transactions - sent)
                sent += publisher.send_transactions(part)
                publisher.send_labels(part, "bench")
                if sent == transactions:
                    break
        return sent

    def applied(self, store: RedisStore, topic: Name = Name.TRANSACTIONS) -> int:
        """Messages of a topic taken in for good, over all partitions."""
        return sum(store.positions(topic, range(self.settings.topics.partitions)).values())

    def messages(self, topic: Name) -> int:
        """Messages on a topic, over all partitions."""
        consumer = confluent_kafka.Consumer({**self.settings.kafka.client_config(), "group.id": "vedette-bench"})
        try:
            name = self.settings.topics.prefix + topic
            ends = [
                consumer.get_watermark_offsets(confluent_kafka.TopicPartition(name, partition), timeout=10)
                for partition in range(self.settings.topics.partitions)
            ]
        finally:
            consumer.close()
        return sum(end - start for start, end in ends)

    @contextmanager
    def worker(self) -> Iterator["subprocess.Popen[bytes]"]:
        """A `vedette worker` process, stopped at the end; its log is in the rig's directory."""
        with (self.directory / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "cli", "worker"], env=self.environment, stdout=log, stderr=log
            )
            try:
                yield process
            finally:
                process.send_signal(signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(20)
                process.kill()
                process.wait()

    def owns(self) -> bool:
        """Whether the worker answers and owns a partition."""
        with suppress(OSError):
            return self.metrics()["vedette_partitions"] > 0
        return False

    def cpu_s(self, workers: "Sequence[subprocess.Popen[bytes]]") -> dict[str, float]:
        """Processor seconds so far: of these workers together, of the broker, and of Redis."""
        parts = {
            "worker": [worker.pid for worker in workers],
            "broker": [self.stack.broker.pid],
            "redis": [self.stack.redis.pid],
        }
        times = {part: [psutil.Process(pid).cpu_times() for pid in pids] for part, pids in parts.items()}
        return {part: sum(each.user + each.system for each in of) for part, of in times.items()}

    def metrics(self) -> dict[str, float]:
        """The worker's metrics by name, labels included."""
        url = f"http://{self.settings.worker.metrics_host}:{self.settings.worker.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return {
            name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        }


@contextmanager
def rig(directory: Path, *, broker: str, redis: str, partitions: int = 4, instance: str = "") -> Iterator[Rig]:
    """A stack in this directory, with topics applied."""
    with LocalStack(directory / "stack", broker, redis) as stack:  # type: ignore[arg-type]
        (port,) = free_ports(1)
        settings = Settings(
            kafka=KafkaSettings(bootstrap_servers=stack.bootstrap_servers),
            topics=TopicSettings(partitions=partitions, prefix="bench."),
            redis=RedisSettings(url=stack.redis_url),
            worker=WorkerSettings(model=str(MODEL), policy=str(POLICY), metrics_port=port, instance=instance),
        )
        apply(settings)
        yield Rig(settings, directory, stack)


def wait_until(
    reached: Callable[[], bool], within_s: float, what: str, worker: "subprocess.Popen[bytes] | None" = None,
    *, every_s: float = 0.01,
) -> float:  # fmt: skip
    """Look again and again until it is so; when that was, by the performance counter.

    Raises:
        VedetteError: It was not so in time, or the worker ended.
    """
    deadline = time.perf_counter() + within_s
    while time.perf_counter() < deadline:
        if reached():
            return time.perf_counter()
        if worker and worker.poll() is not None:
            raise VedetteError(f"the worker ended with exit code {worker.returncode} before {what}")
        time.sleep(every_s)
    raise VedetteError(f"{what} did not happen within {within_s:.0f} s")


def run_reference(module: str, rig_: Rig, events: int, within_s: float) -> float:
    """Run a reference as a process of its own; its events per second."""
    settings = rig_.settings
    arguments = [settings.kafka.bootstrap_servers, settings.redis.url, settings.topics.prefix, str(MODEL / "model.txt")]
    finished = subprocess.run(
        [sys.executable, "-P", "-m", module, *arguments, str(events)],
        capture_output=True, text=True, timeout=within_s, check=False, env=rig_.environment,
    )  # fmt: skip
    lines = [line for line in finished.stdout.splitlines() if line.startswith("{")]  # Faust prints its own
    if finished.returncode or not lines:
        raise VedetteError(f"reference {module} failed: {finished.stderr.strip()[-500:]}")
    return float(json.loads(lines[-1])["rate_per_s"])
