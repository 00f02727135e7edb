"""The worker most people would write first: Faust, one event at a time, sorted sets in Redis, one row to predict.

It computes the account windows only (35 of Vedette's features) with the same model file, and gives no guarantees under
faults. Run as a module with the arguments: broker, redis URL, topic prefix, model file, number of events.
"""

import json
import os
import sys
import time

import faust
import lightgbm
import numpy as np
import redis.asyncio

WINDOWS_S = (60, 600, 3_600, 21_600, 86_400, 604_800, 2_592_000)


def main(broker: str, redis_url: str, prefix: str, model_file: str, events: str) -> None:
    """Process this number of events, print their rate as JSON, and exit."""
    wanted = int(events)
    app = faust.App(
        f"{prefix}naive",
        broker=f"kafka://{broker}",
        store="memory://",
        value_serializer="json",
        key_serializer="raw",
        consumer_auto_offset_reset="earliest",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
    )
    transactions = app.topic(prefix + "transactions", value_serializer="json", key_serializer="raw")
    decisions = app.topic(prefix + "decisions", value_serializer="json", key_serializer="raw")
    booster = lightgbm.Booster(model_file=model_file)
    width = booster.num_feature()

    @app.agent(transactions)
    async def decide(stream):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 — Faust's agents are untyped
        client = redis.asyncio.Redis.from_url(redis_url)
        done, started = 0, 0.0
        async for transaction in stream:
            started = started or time.perf_counter()
            key = f"{prefix}naive:{transaction['account_id']}"
            now, amount = transaction["event_time"] / 1000, transaction["amount"] / 100
            pipeline = client.pipeline(transaction=False)
            pipeline.zadd(key, {f"{transaction['transaction_id']}:{amount}": now})
            pipeline.zremrangebyscore(key, 0, now - WINDOWS_S[-1])
            for window in WINDOWS_S:
                pipeline.zrangebyscore(key, now - window, now)
            answers = await pipeline.execute()
            features: list[float] = []
            for members in answers[2:]:
                amounts = np.array([float(member.split(b":")[-1]) for member in members])
                features += [len(amounts), amounts.sum(), amounts.mean(), amounts.max(), amounts.std()]
            row = np.full((1, width), np.nan)
            row[0, : min(width, len(features))] = features[:width]
            score = float(booster.predict(row)[0])
            decision = {"transaction_id": transaction["transaction_id"], "score": score, "flagged": score > 0.5}
            await decisions.send(key=transaction["account_id"].encode(), value=decision)
            done += 1
            if done == wanted:
                # Faust turns printed text into log records, hence the original stream.
                print(
                    json.dumps({"rate_per_s": done / (time.perf_counter() - started)}), file=sys.__stdout__, flush=True
                )
                os._exit(0)

    sys.argv = [sys.argv[0], "worker", "-l", "warn"]
    app.main()


if __name__ == "__main__":
    main(*sys.argv[1:])
