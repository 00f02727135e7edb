"""A steady load and the time at which each decision can be read, for the latency and recovery benchmarks."""

import threading
import time
from contextlib import closing
from itertools import cycle
from typing import Self

import msgspec
import structlog

from adapters.kafka_consumer import TopicFollower
from adapters.kafka_producer import KafkaProducer
from adapters.kafka_reader import TopicReader
from bench.environment import BenchEnvironment
from producers.frame import rows_to_transactions
from producers.simulation import Simulation
from producers.simulator import simulate
from vedette.clock import DAY
from vedette.topics import Name

_AT_ONCE = 1_000
_TICK_S = 0.001

_log = structlog.get_logger("vedette.bench")


class LoadGenerator:
    """Publishes at a rate from one thread and reads decisions in another, until left as a context manager.

    Args:
        bench: The stack under test.
        rate: Transactions per second.

    Attributes:
        latencies: Milliseconds from the produce call to the decision in hand, in order of arrival.
        last_decision: Time at which the newest decision was read, by the performance counter.
    """

    def __init__(self, bench: BenchEnvironment, rate: int) -> None:
        self._bench = bench
        self._rate = rate
        self._stop = threading.Event()
        self._sent: dict[str, float] = {}
        self.latencies: list[float] = []
        self.last_decision = 0.0
        # Both are connected before the measurement starts.
        with closing(TopicReader(bench.settings, Name.DECISIONS)) as reader:
            name = bench.settings.topics.prefix + Name.DECISIONS
            start = {(name, partition): known.stop for partition, known in reader.offsets.items()}
        self._follower = TopicFollower(bench.settings.kafka, start, _log, tuning={"fetch.wait.max.ms": 50})
        self._producer = KafkaProducer(
            bench.settings.kafka,
            # Without linger, every transaction is a separate request and keeps the broker busy.
            tuning={"linger.ms": 1, "socket.nagle.disable": True},
            quiet=True,
        )
        config = Simulation(customers=20_000, terminals=2_000, days=3, seed=7)
        self._events = rows_to_transactions(next(simulate(config)))

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._read, self._publish)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._follower.close()

    def _publish(self) -> None:
        topic = self._bench.settings.topics.prefix + Name.TRANSACTIONS
        started = time.perf_counter()
        encode = msgspec.json.Encoder().encode
        for number, event in enumerate(cycle(self._events)):
            identifier = f"p{number}"
            # Every day is like the first; repeating it at the same time would look like fraud.
            event_time = event.event_time + number // len(self._events) * DAY
            value = encode(msgspec.structs.replace(event, transaction_id=identifier, event_time=event_time))
            due = started + number / self._rate
            while (early := due - time.perf_counter()) > 0:
                self._producer.poll()
                time.sleep(min(early, _TICK_S))
            if self._stop.is_set():
                break
            self._sent[identifier] = time.perf_counter()
            self._producer.send(topic, value, event.account_id)
        self._producer.flush()

    def _read(self) -> None:
        identifier_of = msgspec.json.Decoder(_Identified).decode
        while not self._stop.is_set():
            # Read all available messages at once: one by one, the two threads would wait for each other each time.
            messages = self._follower.take(1, 0.05) + self._follower.take(_AT_ONCE, 0)
            now = time.perf_counter()
            for message in messages:
                sent = self._sent.pop(identifier_of(message.value()).transaction_id, None)
                if sent is not None:
                    self.last_decision = now
                    self.latencies.append((now - sent) * 1000)


class _Identified(msgspec.Struct):
    transaction_id: str
