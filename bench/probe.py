"""A steady load, and a look at when each decision can be read: what latency and recovery are measured with."""

import threading
import time
from itertools import cycle
from typing import Self

import confluent_kafka
import msgspec

from bench.rig import Rig
from producers.frame import rows_to_transactions
from producers.simulation import Simulation
from producers.simulator import simulate
from vedette.clock import DAY
from vedette.topics import Name

_AT_ONCE = 1_000
_TICK_S = 0.001


class Probe:
    """Publishes at a rate from one thread and reads decisions in another, until left as a context manager.

    Args:
        rig: The stack under test.
        rate: Transactions per second.

    Attributes:
        latencies: Milliseconds from the produce call to the decision in hand, in order of arrival.
        last_decision: When the newest decision was read, by the performance counter.
    """

    def __init__(self, rig: Rig, rate: int) -> None:
        self._rig = rig
        self._rate = rate
        self._stop = threading.Event()
        self._sent: dict[str, float] = {}
        self.latencies: list[float] = []
        self.last_decision = 0.0
        # Both are connected before the clock starts to run.
        self._consumer = confluent_kafka.Consumer(
            rig.settings.kafka.client_config()
            | {"group.id": "vedette-probe", "auto.offset.reset": "latest", "fetch.wait.max.ms": 50}
        )
        name = rig.settings.topics.prefix + Name.DECISIONS
        ends = [
            confluent_kafka.TopicPartition(name, partition, confluent_kafka.OFFSET_END)
            for partition in range(rig.settings.topics.partitions)
        ]
        self._consumer.assign(ends)
        self._producer = confluent_kafka.Producer(
            rig.settings.kafka.client_config()
            | {
                "enable.idempotence": True,
                "linger.ms": 1,  # at nothing, every transaction is a request of its own and keeps the broker busy
                "socket.nagle.disable": True,
                "partitioner": "murmur2_random",
                "log_level": 2,
            }
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
        self._consumer.close()

    def _publish(self) -> None:
        topic = self._rig.settings.topics.prefix + Name.TRANSACTIONS
        started = time.perf_counter()
        encode = msgspec.json.Encoder().encode
        for number, event in enumerate(cycle(self._events)):
            identifier = f"p{number}"
            # Every day is like the first; the same again at the same time would look like fraud.
            event_time = event.event_time + number // len(self._events) * DAY
            value = encode(msgspec.structs.replace(event, transaction_id=identifier, event_time=event_time))
            due = started + number / self._rate
            while (early := due - time.perf_counter()) > 0:
                self._producer.poll(0)
                time.sleep(min(early, _TICK_S))
            if self._stop.is_set():
                break
            self._sent[identifier] = time.perf_counter()
            self._producer.produce(topic, value, event.account_id)
        self._producer.flush(30)

    def _read(self) -> None:
        identifier_of = msgspec.json.Decoder(_Identified).decode
        while not self._stop.is_set():
            # With the first all that is there: one by one, the two threads would wait for each other's turn each time.
            messages = self._consumer.consume(1, 0.05) + self._consumer.consume(_AT_ONCE, 0)
            now = time.perf_counter()
            for message in messages:
                if message.error():
                    continue
                sent = self._sent.pop(identifier_of(message.value()).transaction_id, None)
                if sent is not None:
                    self.last_decision = now
                    self.latencies.append((now - sent) * 1000)


class _Identified(msgspec.Struct):
    transaction_id: str
