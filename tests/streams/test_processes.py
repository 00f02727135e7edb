"""Several workers under one parent."""

from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event

import msgspec
import psutil
import pytest
from confluent_kafka import Producer
from prometheus_client.parser import text_string_to_metric_families

from adapters.kafka_client import client_config
from producers.poison import MOMENT
from stack.process import Child, free_ports
from stack.state import StackState
from stack.topics import apply
from stack.worker import WorkerProcess
from streams.history.run_output import Topics
from streams.processes import WorkerProcesses, run_processes
from tests.conftest import SettingsFor, wait_for
from tests.streams.conftest import PARTITIONS
from vedette.errors import SettingsError
from vedette.events import Transaction
from vedette.partitioner import PARTITIONER
from vedette.settings import Settings
from vedette.topics import Name

WITHIN_S = 180.0


def by_process(running: WorkerProcess, metric: str) -> dict[str, float]:
    """Return the sum of a metric for each process."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(running.get("/metrics")[1]):
        for sample in family.samples:
            if sample.name == metric:
                found[sample.labels["process"]] = found.get(sample.labels["process"], 0.0) + sample.value
    return found


def workers_of(running: WorkerProcess) -> list[psutil.Process]:
    """Return the worker processes of a parent."""
    children = psutil.Process(running._child.pid).children()
    return [child for child in children if child.status() != psutil.STATUS_ZOMBIE and "worker" in child.cmdline()]


@pytest.mark.kafka
def test_two_processes_share_partitions_endpoint_and_end(
    apache_stack: StackState, settings_for: SettingsFor, topic_prefix: str, tmp_path: Path,
    topics: Callable[[Settings], Topics],
) -> None:  # fmt: skip
    """Each has partitions; all is decided once and counted by process; a killed one is restarted; all end in order."""
    settings = settings_for(apache_stack, topic_prefix)
    settings = msgspec.structs.replace(settings, topics=msgspec.structs.replace(settings.topics, partitions=PARTITIONS))
    apply(settings)
    running = WorkerProcess(settings, tmp_path, "workers", ["--processes", "2"])
    producer = Producer(client_config(settings.kafka) | {"partitioner": PARTITIONER})
    reader = topics(settings)

    def send(*numbers: int) -> None:
        for number in numbers:
            payment = Transaction(
                transaction_id=f"t{number}", account_id=f"a{number}", amount=100, currency="EUR",
                event_time=MOMENT + number, merchant_id="m1",
            )  # fmt: skip
            name = settings.topics.prefix + Name.TRANSACTIONS
            producer.produce(name, msgspec.json.encode(payment), payment.account_id.encode())
        assert producer.flush(WITHIN_S) == 0

    def decided() -> list[str]:
        messages = reader.messages(Name.DECISIONS)
        return sorted(msgspec.json.decode(message.value())["transaction_id"] for message in messages)

    def shared() -> bool:
        assert running.running, running.log_tail
        owned = by_process(running, "vedette_partitions")
        return running.ready and len(owned) == 2 and all(owned.values()) and sum(owned.values()) == PARTITIONS

    try:
        wait_for(shared, WITHIN_S)
        send(*range(20))
        wait_for(lambda: sum(by_process(running, "vedette_decisions_total").values()) == 20, WITHIN_S)
        assert all(by_process(running, "vedette_decisions_total").values())
        killed = workers_of(running)[0]
        killed.kill()
        wait_for(lambda: killed.pid not in {worker.pid for worker in workers_of(running)}, WITHIN_S)
        wait_for(shared, WITHIN_S)
        send(*range(20, 40))
        wait_for(lambda: len(set(decided())) == 40, WITHIN_S)
        workers = workers_of(running)
        assert running.stop() == 0
        assert not any(worker.is_running() for worker in workers)
        assert decided() == sorted(f"t{number}" for number in range(40))
    finally:
        running.kill()


def test_a_worker_that_cannot_start_ends_all() -> None:
    """Another start would not help, so the exit code is that of a single worker."""
    started: list[Mapping[str, str]] = []

    def start(variables: Mapping[str, str]) -> Child:
        started.append(variables)
        return Child(["/bin/sh", "-c", "exit 2" if len(started) == 2 else "sleep 60"], log=None)

    ports = free_ports(2)
    assert WorkerProcesses(start, ports, "till").run(Event()) == 2
    assert [variables["VEDETTE_WORKER__METRICS_PORT"] for variables in started] == [str(port) for port in ports]
    assert [variables["VEDETTE_WORKER__INSTANCE"] for variables in started] == ["till-0", "till-1"]


def test_more_processes_than_partitions_are_refused() -> None:
    """A process without a partition would never be ready."""
    settings = Settings()
    with pytest.raises(SettingsError, match="at most as many as"):
        run_processes(settings, lambda _: pytest.fail("started"), range(settings.topics.partitions + 1), Event())
