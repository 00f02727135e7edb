"""Faults of workers and of what is sent to them."""

import signal
from dataclasses import replace
from time import perf_counter

import numpy as np

from bench.faults.deployment import PATIENCE_S, SLOW, Deployment, Worker, claim
from bench.faults.outcome import position
from bench.faults.poison import POISON
from bench.faults.stream import Message, repeated
from bench.rig import wait_until
from features.redis_client import connect
from vedette.clock import HOUR
from vedette.topics import TAKEN_IN, Name

_KEYS = (b"A1", None, b"", b"\xff\xfe")


def killed(run: Deployment) -> float:
    """A worker is killed as Redis shows a new watermark, or as the broker shows new decisions; the rest is chance."""
    worker = run.in_burst(500)
    seconds = []
    for progress in (run.taken_in, run.decided, run.taken_in):
        before = progress()
        wait_until(lambda: progress() > before, PATIENCE_S, "progress")  # noqa: B023 — used within this round
        worker.kill()
        started = perf_counter()
        worker = run.worker(batch_max=SLOW)
        seconds.append(run.recovered(started))
    run.finish()
    return max(seconds)


def killed_before_write(run: Deployment) -> float:
    """Redis is told to hold back writes; the worker whose write hangs there has published its batch, and is killed."""
    worker = run.in_burst()
    with connect(run.settings.redis) as client:
        client.client_pause(int(PATIENCE_S) * 1000, all=False)
        wait_until(lambda: client.info("clients")["blocked_clients"] > 0, PATIENCE_S, "a write held back")
        worker.kill()
        wait_until(lambda: client.info("clients")["blocked_clients"] == 0, PATIENCE_S, "the end of its connection")
        written, decided = run.position(Name.TRANSACTIONS), run.decided()
        client.client_unpause()
    claim(run.position(Name.TRANSACTIONS) == written, "what was held back was not written")
    places = [position(Name.TRANSACTIONS, number, offset) for number in written for offset in range(written[number])]
    taken_in = sum(place not in run.published.poison for place in places)
    claim(decided > taken_in, "decisions of what was not written were published")
    started = perf_counter()
    run.worker()
    seconds = run.recovered(started)
    run.finish()
    return seconds


def killed_before_offset(run: Deployment) -> float:
    """The worker is killed at the very moment in which Redis has a watermark that the broker does not know yet."""
    worker = run.in_burst()
    before = run.position(Name.TRANSACTIONS)
    wait_until(lambda: run.position(Name.TRANSACTIONS) != before, PATIENCE_S, "a new watermark", every_s=0)
    worker.kill()
    written, committed = run.position(Name.TRANSACTIONS), run.committed(Name.TRANSACTIONS)
    claim(any(committed[number] < written[number] for number in written), "an offset was yet to be committed")
    claim(all(committed[number] <= written[number] for number in written), "no offset is ahead of its watermark")
    started = perf_counter()
    run.worker()
    seconds = run.recovered(started)
    run.finish()
    return seconds


def slow(run: Deployment) -> float:
    """One of two workers is frozen in the middle of a batch, though not for so long that it loses its partitions."""
    first = run.in_burst(0)
    second = run.worker(batch_max=SLOW)
    wait_until(lambda: _shared(first, second), PATIENCE_S, "shared partitions", every_s=0.1)
    mine = [number for event in first.events("partitions assigned")[-1:] for number in event["partitions"]]
    run.rest()
    first.signal(signal.SIGSTOP)
    frozen_at = perf_counter()
    before = run.position(Name.TRANSACTIONS)
    others = [number for number in before if number not in mine]
    wait_until(
        lambda: any(run.position(Name.TRANSACTIONS)[number] > before[number] for number in others),
        PATIENCE_S, "progress of the other worker",
    )  # fmt: skip
    claim(perf_counter() - frozen_at < run.settings.worker.session_timeout_s, "the other worker was not held up")
    claim(
        all(run.position(Name.TRANSACTIONS)[number] == before[number] for number in mine), "the slow one stands still"
    )
    first.signal(signal.SIGCONT)
    started = perf_counter()
    wait_until(
        lambda: any(run.position(Name.TRANSACTIONS)[number] > before[number] for number in mine),
        PATIENCE_S, "the slow worker's next batch",
    )  # fmt: skip
    seconds = perf_counter() - started
    run.finish()
    claim(len(first.events("partitions assigned")) <= 2, "nothing was reassigned")
    return seconds


def poisoned(run: Deployment) -> float:
    """Among the payments, every kind of poison under every kind of key, and garbage on the topics beside."""
    worker = run.worker()
    run.publish(run.stream.history)
    run.publish(
        Message(topic, _KEYS[place % len(_KEYS)], poison.value, poison=True)
        for topic in TAKEN_IN
        for place, poison in enumerate(POISON)
    )
    run.finish()
    run.publish(run.stream.burst)
    run.finish()
    letters = run.topics.messages(Name.DLQ)
    claim(len(letters) == len(run.published.poison), "there is one dead letter for each")
    claim(worker.metric("vedette_dlq_total") == len(letters), "the metric counts them")
    says = {poison.value: poison.says for poison in POISON}
    for letter in letters:
        headers = {name: value.decode() for name, value in letter.headers()}
        if headers["__connect.errors.topic"].endswith(Name.TRANSACTIONS):
            reason = headers["__connect.errors.exception.message"]
            claim(says[letter.value()] in reason, f"{letter.value()!r:.60} is refused for {says[letter.value()]}")
    claim(worker.stop() == 0, "the worker ends in order")
    return 0.0


def rebalanced(run: Deployment) -> float:
    """A second worker joins, and the first leaves, while payments pour in."""
    first = run.in_burst(0)
    started = perf_counter()
    second = run.worker(batch_max=SLOW)
    wait_until(lambda: _shared(first, second), PATIENCE_S, "shared partitions", every_s=0.1)
    run.rest()
    claim(first.stop() == 0, "the first worker ends in order")
    wait_until(lambda: second.metric("vedette_partitions") == 4, PATIENCE_S, "all partitions at one", every_s=0.1)
    seconds = perf_counter() - started
    run.finish()
    return seconds


def _shared(first: Worker, second: Worker) -> bool:
    return first.metric("vedette_partitions") == second.metric("vedette_partitions") == 2


def repeated_tenfold(run: Deployment) -> float:
    """Every payment, label and poison is delivered ten times, shuffled among its neighbours."""
    rng = np.random.default_rng(14)
    worker = run.worker()
    for part in (run.stream.history, run.stream.burst):
        run.publish(repeated(part, 10, rng))
        run.finish()
    claim(worker.metric("vedette_duplicates_total") >= 9 * len(run.published.transactions), "all repeats were noticed")
    return 0.0


def skewed(run: Deployment) -> float:
    """One producer's clock is an hour ahead of the worker's, the other's an hour behind."""
    worker = run.worker()
    for part in (run.stream.history, run.stream.burst):
        skews = (HOUR, -HOUR)
        run.publish(replace(message, skew_ms=skews[place % 2]) for place, message in enumerate(part))
        run.finish()
    claim(worker.metric("vedette_latency_seconds_sum") >= 0, "no latency is negative")
    claim(worker.metric("vedette_dlq_total") == len(run.published.poison), "no payment was refused for its time")
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
    claim(bool(frozen.events("partition lost")), "it was kept from writing, and says so")
    claim(heir.running, "the other worker still runs")
    run.finish()
    return seconds
