"""The floor of latency: a bare loop that consumes each payment, copies its id, and produces that back as a decision.

No features, no model, no state, no guarantees: only the round trip to the broker, with settings for low latency.
Run as a module with the arguments: broker, redis URL (not used), topic prefix, model file (not used), number of events.
"""

import sys

import confluent_kafka
import msgspec

from vedette.partitioner import PARTITIONER
from vedette.topics import Name

_AT_ONCE = 1_000
_PAUSE_S = 0.05


class _Identified(msgspec.Struct, gc=False):
    transaction_id: str


def main(broker: str, _redis_url: str, prefix: str, _model_file: str, events: str) -> None:
    """Pass the ids of this many payments on."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": broker,
            "group.id": f"{prefix}floor",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 50,
        }
    )
    producer = confluent_kafka.Producer(
        {
            "bootstrap.servers": broker,
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": 1,
            "socket.nagle.disable": True,
            "partitioner": PARTITIONER,
        }
    )
    decode = msgspec.json.Decoder(_Identified).decode
    encode = msgspec.json.Encoder().encode
    consumer.subscribe([prefix + Name.TRANSACTIONS])
    left = int(events)
    while left > 0:
        # Read all available messages at once: one by one, threads would wait for each other each time.
        for message in consumer.consume(1, _PAUSE_S) + consumer.consume(_AT_ONCE, 0):
            if not message.error():
                producer.produce(prefix + Name.DECISIONS, encode(decode(message.value())), message.key())
                left -= 1
        producer.poll(0)
    producer.flush()
    consumer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
