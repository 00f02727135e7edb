"""Faults of a worker's dependencies: broker, Redis, state, model."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from time import perf_counter

import msgspec

from adapters.redis import connect
from bench.environment import wait_until
from bench.faults.deployment import PATIENCE_S, Deployment, ensure
from models.file_names import BOOSTER, CONTRACT
from streams.watchdog import EXIT_STUCK
from vedette import VedetteError, keys
from vedette.topics import Name


def unreadable_state(run: Deployment) -> float:
    """The state of a partition's accounts is overwritten with garbage, and later restored."""
    worker = run.in_burst()
    ensure(worker.stop() == 0, "the worker stops cleanly")
    prefix = run.settings.redis.prefix
    with connect(run.settings.redis) as client:
        names = list(client.scan_iter(match=f"{keys.account(prefix, 0)}*", count=1000))
        blobs = client.mget(names)
        client.mset(dict.fromkeys(names, b"\xffgarbage"))
        run.rest()
        broken = run.worker()
        ensure(broken.exit_code(within_s=PATIENCE_S) not in (0, None), "a worker ends on unreadable state")
        log = broken.log.read_text(encoding="utf-8")
        ensure("the state of an account cannot be read" in log, "its log gives the reason")
        client.mset(dict(zip(names, blobs, strict=True)))
    started = perf_counter()
    run.worker()
    seconds = run.recovered(started)
    run.finish()
    return seconds


def broker_killed(run: Deployment) -> float:
    """The broker is killed in the middle of a burst and started again."""
    worker = run.in_burst()
    run.stack.broker.kill()
    run.stack.broker.start()
    seconds = run.recovered(perf_counter())
    run.finish()
    ensure(worker.running, "the worker survives")
    ensure(worker.metric("vedette_partitions_lost_total") == 0, "nothing was fenced")
    ensure(worker.stop() == 0, "the worker stops cleanly")
    for line in worker.log.read_text(encoding="utf-8").splitlines():
        fields = msgspec.json.decode(line).keys()
        ensure({"event", "level", "logger", "timestamp"} <= fields, f"{line} has the format of the log")
    return seconds


def redis_killed(run: Deployment) -> float:
    """Redis is killed and started again, twice; the worker waits and reports it."""
    worker = run.in_burst()
    seconds = []
    for _ in range(2):
        run.stack.redis.kill()
        wait_until(lambda: worker.get("/readyz")[0] == 503, PATIENCE_S, "a worker that is not ready", every_s=0.1)
        ensure('"status": "waiting"' in worker.get("/readyz")[1], "it reports that it is waiting")
        ensure(worker.metric("vedette_degraded") == 1, "the metric shows it")
        ensure(worker.get("/healthz")[0] == 200, "it is healthy nevertheless")
        run.stack.redis.start()
        seconds.append(run.recovered(perf_counter()))
    run.finish()
    ensure(all("Redis" in event["because"] for event in worker.events("waiting")), "the log names what it waits for")
    ensure(worker.metric("vedette_degraded") == 0, "the metric is back")
    ensure(worker.running, "the worker survives")
    return max(seconds)


def redis_killed_for_long(run: Deployment) -> float:
    """Redis is killed, and started again long after the worker has begun to decide without history."""
    return _decided_without_history(run, run.stack.redis.kill, run.stack.redis.start)


def redis_frozen_for_long(run: Deployment) -> float:
    """Redis is frozen for a long time; when it resumes, it executes the pending commands."""

    def tell(number: signal.Signals) -> None:
        os.kill(run.stack.redis.pid, number)

    return _decided_without_history(run, lambda: tell(signal.SIGSTOP), lambda: tell(signal.SIGCONT))


def _decided_without_history(run: Deployment, leave: Callable[[], None], come_back: Callable[[], None]) -> float:
    policy = run.directory / "policy.yaml"
    shipped = run.settings.decisions.policy_file.read_text(encoding="utf-8")
    policy.write_text(shipped + "\ndegraded: {after_s: 0.5}\n", encoding="utf-8")
    worker = run.in_burst(policy=policy, redis_timeout_s=0.5)
    leave()
    try:
        wait_until(lambda: '"degraded"' in worker.get("/readyz")[1], PATIENCE_S, "decisions without history")
        ensure(worker.metric("vedette_degraded") == 1, "the metric shows it")
        ensure(worker.get("/healthz")[0] == 200, "it is healthy nevertheless")
        more = run.rest()
        wait_until(
            lambda: worker.metric("vedette_degraded_decisions_total") >= more,
            PATIENCE_S, "a decision on every payment since", every_s=0.1,
        )  # fmt: skip
    finally:
        come_back()
    seconds = run.recovered(perf_counter())
    run.finish()
    ensure(worker.ready and worker.metric("vedette_degraded") == 0, "it has recovered")
    ensure(len(worker.events("partitions assigned")) == 2 and worker.running, "it has acquired its partitions again")
    said = [msgspec.json.decode(message.value()) for message in run.topics.messages(Name.DECISIONS)]
    ensure(sum(decision["degraded"] for decision in said) >= more, "those decisions are marked")
    stands = {decision["transaction_id"]: decision for decision in said}
    ensure(not any(decision["degraded"] for decision in stands.values()), "the last decision of each has history")
    alerts = [msgspec.json.decode(message.value()) for message in run.topics.messages(Name.ALERTS)]
    ids = {alert["alert_id"] for alert in alerts}
    ensure(len(ids) == len({alert["transaction_id"] for alert in alerts}), "an alert that follows another has its id")
    return seconds


def redis_failed_over(run: Deployment) -> float:
    """The master is killed for good; its Sentinel promotes the replica, and the worker follows.

    A worker that finds the replica behind its last write ends, and is restarted by its supervisor.
    """
    run.supervised = True
    run.in_burst()
    if run.pair is None:
        raise VedetteError("a failover needs a Redis with a replica")
    run.pair.master.kill()
    seconds = run.recovered(perf_counter())
    ensure(run.pair.promoted, "the replica is master now")
    run.finish()
    return seconds


def redis_full(run: Deployment) -> float:
    """Redis runs out of memory for writes, and later gets more."""
    worker = run.in_burst()
    with connect(run.settings.redis) as client:
        client.config_set("maxmemory", 1)
        wait_until(lambda: not worker.ready, PATIENCE_S, "a worker that is not ready", every_s=0.1)
        client.config_set("maxmemory", 0)
    seconds = run.recovered(perf_counter())
    run.finish()
    ensure(
        any("maxmemory" in event["because"] for event in worker.events("waiting")), "the log names what it waits for"
    )
    ensure(worker.running, "the worker survives")
    return seconds


def redis_hangs(run: Deployment) -> float:
    """Redis is frozen and never answers; the worker, set to wait forever, is ended by its watchdog."""
    worker = run.in_burst(redis_timeout_s=1_000_000.0, stuck_after_s=3.0)
    os.kill(run.stack.redis.pid, signal.SIGSTOP)
    try:
        ensure(worker.exit_code(within_s=PATIENCE_S) == EXIT_STUCK, f"it ends with exit code {EXIT_STUCK}")
    finally:
        os.kill(run.stack.redis.pid, signal.SIGCONT)
    ensure(bool(worker.events("stuck; ending so that another worker takes over")), "its log gives the reason")
    started = perf_counter()
    run.worker()
    seconds = run.recovered(started)
    run.finish()
    return seconds


def wrong_model(run: Deployment) -> float:
    """Workers are started with a truncated model, a missing one, and one made for other features."""
    good = run.settings.decisions.model_folder
    corrupt, missing, other = (run.directory / name for name in ("corrupt", "missing", "other"))
    shutil.copytree(good, corrupt)
    booster = (corrupt / BOOSTER).read_bytes()
    (corrupt / BOOSTER).write_bytes(booster[: len(booster) // 2])
    shutil.copytree(good, other)
    contract = json.loads((other / CONTRACT).read_text(encoding="utf-8"))
    (other / CONTRACT).write_text(json.dumps(contract | {"features_hash": "0" * 64}), encoding="utf-8")
    run.publish(run.stream.history)
    for model, says in ((corrupt, str(corrupt)), (missing, str(missing)), (other, "was trained on features 000000")):
        worker = run.worker(model=model)
        ensure(worker.exit_code(within_s=PATIENCE_S) == 2, "a worker does not start on such a model")
        words = " ".join(worker.log.read_text(encoding="utf-8").split())
        ensure(says in words and "Traceback" not in words, f"it reports it in a sentence: {words}")
    metas = [run.store.meta(number) for number in range(run.settings.topics.partitions)]
    ensure(not any(metas), "no partition was acquired and nothing was consumed")
    ensure(run.decided() == 0, "nothing was decided")
    started = perf_counter()
    run.worker()
    seconds = run.recovered(started)
    run.finish()
    run.publish(run.stream.burst)
    run.finish()
    return seconds
