"""Faults of workers and of their input."""

import signal
from dataclasses import replace
from time import perf_counter

import numpy as np

from adapters.redis import connect
from bench.environment import wait_until
from bench.faults.deployment import PATIENCE_S, SLOW, Deployment, ensure
from bench.faults.stream import StreamMessage, repeated
from producers.poison import POISON
from stack.worker import WorkerProcess
from streams.history.run_output import position
from vedette.clock import HOUR
from vedette.topics import WORKER_INPUTS, Name

_KEYS = (b"A1", None, b"", b"\xff\xfe")


def killed(run: Deployment) -> float:
    """A worker is killed as soon as Redis shows a new watermark, or the broker new decisions; the rest is chance."""
    worker = run.in_burst(500)
    seconds = []
    for progress in (run.consumed, run.decided, run.consumed):
        before = progress()
        wait_until(lambda: progress() > before, PATIENCE_S, "progress")  # noqa: B023 — used within this round
        worker.kill()
        started = perf_counter()
        worker = run.worker(batch_max=SLOW)
        seconds.append(run.recovered(started))
    run.finish()
    return max(seconds)


def killed_before_write(run: Deployment) -> float:
    """Redis pauses writes; the worker whose write is blocked has published its batch, and is killed."""
    worker = run.in_burst()
    with connect(run.settings.redis) as client:
        client.client_pause(int(PATIENCE_S) * 1000, all=False)
        wait_until(lambda: client.info("clients")["blocked_clients"] > 0, PATIENCE_S, "a blocked write")
        worker.kill()
        wait_until(lambda: client.info("clients")["blocked_clients"] == 0, PATIENCE_S, "the end of its connection")
        written, decided = run.position(Name.TRANSACTIONS), run.decided()
        client.client_unpause()
    ensure(run.position(Name.TRANSACTIONS) == written, "the blocked write was not applied")
    places = [position(Name.TRANSACTIONS, number, offset) for number in written for offset in range(written[number])]
    consumed = sum(place not in run.published.poison for place in places)
    ensure(decided > consumed, "decisions of the blocked batch were published")
    started = perf_counter()
    run.worker()
    seconds = run.recovered(started)
    run.finish()
    return seconds


def killed_before_offset(run: Deployment) -> float:
    """The worker is killed at the moment when Redis has a watermark that the broker does not know yet."""
    worker = run.in_burst()
    before = run.position(Name.TRANSACTIONS)
    wait_until(lambda: run.position(Name.TRANSACTIONS) != before, PATIENCE_S, "a new watermark", every_s=0)
    worker.kill()
    written, committed = run.position(Name.TRANSACTIONS), run.committed(Name.TRANSACTIONS)
    ensure(any(committed[number] < written[number] for number in written), "an offset was not yet committed")
    ensure(all(committed[number] <= written[number] for number in written), "no offset is ahead of its watermark")
    started = perf_counter()
    run.worker()
    seconds = run.recovered(started)
    run.finish()
    return seconds


def slow(run: Deployment) -> float:
    """One of two workers is frozen in the middle of a batch, but not long enough to lose its partitions."""
    first = run.in_burst(0)
    second = run.worker(batch_max=SLOW)
    wait_until(lambda: _shared(first, second), PATIENCE_S, "shared partitions", every_s=0.1)
    held = [number for event in first.events("partitions assigned")[-1:] for number in event["partitions"]]
    run.rest()
    first.signal(signal.SIGSTOP)
    frozen_at = perf_counter()
    before = run.position(Name.TRANSACTIONS)
    others = [number for number in before if number not in held]
    wait_until(
        lambda: any(run.position(Name.TRANSACTIONS)[number] > before[number] for number in others),
        PATIENCE_S, "progress of the other worker",
    )  # fmt: skip
    ensure(perf_counter() - frozen_at < run.settings.worker.session_timeout_s, "the other worker was not delayed")
    ensure(
        all(run.position(Name.TRANSACTIONS)[number] == before[number] for number in held),
        "the slow one makes no progress",
    )
    first.signal(signal.SIGCONT)
    started = perf_counter()
    wait_until(
        lambda: any(run.position(Name.TRANSACTIONS)[number] > before[number] for number in held),
        PATIENCE_S, "the slow worker's next batch",
    )  # fmt: skip
    seconds = perf_counter() - started
    run.finish()
    ensure(len(first.events("partitions assigned")) <= 2, "nothing was reassigned")
    return seconds


def poisoned(run: Deployment) -> float:
    """Among the payments, every kind of poison under every kind of key, and garbage on the other topics."""
    worker = run.worker()
    run.publish(run.stream.history)
    run.publish(
        StreamMessage(topic, _KEYS[place % len(_KEYS)], poison.value, poison=True)
        for topic in WORKER_INPUTS
        for place, poison in enumerate(POISON)
    )
    run.finish()
    run.publish(run.stream.burst)
    run.finish()
    letters = run.topics.messages(Name.DLQ)
    ensure(len(letters) == len(run.published.poison), "there is one dead letter for each")
    ensure(worker.metric("vedette_dlq_total") == len(letters), "the metric counts them")
    says = {poison.value: poison.says for poison in POISON}
    for letter in letters:
        headers = {name: value.decode() for name, value in letter.headers()}
        if headers["__connect.errors.topic"].endswith(Name.TRANSACTIONS):
            reason = headers["__connect.errors.exception.message"]
            ensure(says[letter.value()] in reason, f"{letter.value()!r:.60} is refused for {says[letter.value()]}")
    ensure(worker.stop() == 0, "the worker stops cleanly")
    return 0.0


def rebalanced(run: Deployment) -> float:
    """A second worker joins, and the first leaves, during a burst of payments."""
    first = run.in_burst(0)
    started = perf_counter()
    second = run.worker(batch_max=SLOW)
    wait_until(lambda: _shared(first, second), PATIENCE_S, "shared partitions", every_s=0.1)
    run.rest()
    ensure(first.stop() == 0, "the first worker stops cleanly")
    wait_until(lambda: second.metric("vedette_partitions") == 4, PATIENCE_S, "all partitions at one", every_s=0.1)
    seconds = perf_counter() - started
    run.finish()
    return seconds


def _shared(first: WorkerProcess, second: WorkerProcess) -> bool:
    return first.metric("vedette_partitions") == second.metric("vedette_partitions") == 2


def repeated_tenfold(run: Deployment) -> float:
    """Every payment, label and poison is delivered ten times, shuffled among its neighbours."""
    rng = np.random.default_rng(14)
    worker = run.worker()
    for part in (run.stream.history, run.stream.burst):
        run.publish(repeated(part, 10, rng))
        run.finish()
    ensure(
        worker.metric("vedette_duplicates_total") >= 9 * len(run.published.transactions), "all repeats were detected"
    )
    return 0.0


def skewed(run: Deployment) -> float:
    """One producer's clock is an hour ahead of the worker's, the other's an hour behind."""
    worker = run.worker()
    for part in (run.stream.history, run.stream.burst):
        skews = (HOUR, -HOUR)
        run.publish(replace(message, skew_ms=skews[place % 2]) for place, message in enumerate(part))
        run.finish()
    ensure(worker.metric("vedette_latency_seconds_sum") >= 0, "no latency is negative")
    ensure(worker.metric("vedette_dlq_total") == len(run.published.poison), "no payment was refused for its time")
    return 0.0


def zombie(run: Deployment) -> float:
    """A worker is frozen until another owns its partitions, and then wakes up in the middle of its batch."""
    frozen = run.in_burst()
    frozen.signal(signal.SIGSTOP)
    started = perf_counter()
    heir = run.worker()
    seconds = run.recovered(started)
    run.finish()
    frozen.signal(signal.SIGCONT)
    wait_until(
        lambda: len(frozen.events("partitions assigned")) > 1, PATIENCE_S, "the frozen worker taking part again",
        every_s=0.1,
    )  # fmt: skip
    ensure(bool(frozen.events("partition lost")), "its write was fenced, and it reports this")
    ensure(heir.running, "the other worker is still running")
    run.finish()
    return seconds
