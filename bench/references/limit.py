"""The bare calls in a bare loop: consume, decode, MGET, predict, produce, SET; no features, no guarantees.

No Python program that makes these calls can be much faster. Run as a module with the arguments: broker, redis URL,
topic prefix, model file, number of events.
"""

import json
import sys
import time

import confluent_kafka
import lightgbm
import msgspec
import numpy as np
import redis

from vedette.events import Decision, Transaction
from vedette.partitioner import PARTITIONER

BATCH = 4_000
STATE = bytes(300)


def main(broker: str, redis_url: str, prefix: str, model_file: str, events: str) -> None:
    """Process this number of events, print their rate as JSON, and exit."""
    wanted = int(events)
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": broker,
            "group.id": f"{prefix}limit",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    producer = confluent_kafka.Producer(
        {
            "bootstrap.servers": broker,
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": 20,
            "queue.buffering.max.messages": 200_000,
            "partitioner": PARTITIONER,
        }
    )
    client = redis.Redis.from_url(redis_url)
    booster = lightgbm.Booster(model_file=model_file)
    rows = np.full((BATCH, booster.num_feature()), np.nan)
    decode = msgspec.json.Decoder(Transaction).decode
    encode = msgspec.json.Encoder().encode
    consumer.subscribe([prefix + "transactions"])
    done, started = 0, 0.0
    while done < wanted:
        messages = consumer.consume(BATCH, 1.0)
        if not messages:
            continue
        started = started or time.perf_counter()
        transactions = [decode(message.value()) for message in messages]
        keys = [f"{prefix}limit:{account}" for account in {transaction.account_id for transaction in transactions}]
        client.mget(keys)
        scores = booster.predict(rows[: len(transactions)], num_threads=1).tolist()
        for transaction, score in zip(transactions, scores, strict=True):
            decision = Decision(
                transaction_id=transaction.transaction_id,
                account_id=transaction.account_id,
                event_time=transaction.event_time,
                amount=transaction.amount,
                currency=transaction.currency,
                action="approve",
                score=score,
                expected_loss=0,
                reasons=[],
                rules=[],
                model="",
                policy="",
                features_hash="",
            )
            producer.produce(prefix + "decisions", encode(decision), transaction.account_id)
        producer.flush()
        client.mset(dict.fromkeys(keys, STATE))
        consumer.commit(asynchronous=True)
        done += len(messages)
    print(json.dumps({"rate_per_s": done / (time.perf_counter() - started)}), flush=True)
    consumer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
