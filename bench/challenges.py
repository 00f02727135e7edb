"""Challenges: the throughput of one process, and its resistance to parallel answers and to guessing.

For four customers at a time a challenge is issued, its SMS code is created and answered, and issue and outcome are
published to the broker and written to the audit log, all in this process. The SMS is not sent, since its speed depends
on the provider.
"""

import logging
import os
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from access.audit import open_audit
from access.keyring import keyring_of, new_key
from adapters.http_server import Readiness
from adapters.kafka_producer import EventProducer
from adapters.redis import connect
from bench.measurement import Measurement, Setup
from challenges.bootstrap import rules_of
from challenges.challenges import Challenges
from challenges.codes import TOTP_DIGITS, new_secret
from challenges.outbox_relay import ChallengeRelay
from challenges.records import Account, Binding, ChallengeRecord
from challenges.state_machine import ChallengeAnswer
from challenges.store import ChallengeStore
from stack.local import LocalStack
from stack.topics import apply
from vedette import Settings
from vedette.challenge_ids import challenge_id_of
from vedette.clock import MINUTE, SystemClock
from vedette.settings import AuditSettings, KafkaSettings, MfaSettings, RedisSettings
from vedette.settings_base import Secret

_ACCOUNTS = 1000
_AT_ONCE = 4
"""Number of parallel customers; the number of accounts is a multiple of it, so that no two share an account."""

_PARALLEL = 50
_VALID_STEPS = 2


@dataclass(frozen=True)
class ChallengeFigures(Measurement):
    """Results of the benchmark.

    Args:
        challenges: Number of challenges settled.
        settled_per_s: Challenges settled per second, until the last outcome was on the broker.
        parallel_answers: Number of simultaneous correct answers to one challenge.
        parallel_successes: Number of those that approved it.
        guesses: Number of random codes tried on challenges of one account.
        guesses_judged: Number of guesses compared with a code before the account was locked.
        guess_hits: Number of correct guesses.
        guess_odds: Upper bound of the probability of a hit: guesses compared, times the number of valid codes, over all
            codes.
        blocked: Whether the account is locked at the end.
    """

    challenges: int
    settled_per_s: float
    parallel_answers: int
    parallel_successes: int
    guesses: int
    guesses_judged: int
    guess_hits: int
    guess_odds: float
    blocked: bool


def measure(setup: Setup, *, challenges: int, guesses: int) -> ChallengeFigures:
    """Measure with a separate broker and Redis."""
    directory, say = setup.directory, setup.say
    with LocalStack(directory / "stack", setup.broker, setup.redis) as stack:
        settings = Settings(
            kafka=KafkaSettings(bootstrap_servers=stack.bootstrap_servers),
            redis=RedisSettings(url=stack.redis_url),
            audit=AuditSettings(path=str(directory / "audit.jsonl"), key=Secret(os.urandom(32).hex())),
            mfa=MfaSettings(keys=Secret(new_key("bench", os.urandom))),
        )
        apply(settings)
        clock = SystemClock()
        client = connect(settings.redis)
        with open_audit(settings.audit, clock, "mfa") as audit:
            store = ChallengeStore(client, settings.redis.prefix)
            service = Challenges(store, keyring_of(settings.mfa), rules_of(settings.mfa), clock, os.urandom, audit)
            relay = ChallengeRelay(service, EventProducer(settings), Readiness(), _quiet_log())
            for number in range(_ACCOUNTS):
                _enrol(service, f"account-{number}", totp=False)
            say(f"issuing and settling {challenges:,} challenges")
            rate = _throughput(service, relay, challenges)
            say(f"{_PARALLEL} correct answers at once")
            successes = _parallel(service)
            say(f"{guesses:,} guesses on challenges of one account")
            judged, hits, locked = _guess(service, guesses)
        client.close()
    return ChallengeFigures(
        challenges=challenges,
        settled_per_s=round(rate, 1),
        parallel_answers=_PARALLEL,
        parallel_successes=successes,
        guesses=guesses,
        guesses_judged=judged,
        guess_hits=hits,
        guess_odds=judged * _VALID_STEPS / 10**TOTP_DIGITS,
        blocked=locked,
    )


def _quiet_log() -> Any:
    """Return a logger for warnings only."""
    return structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr), wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING)
    )


def _throughput(service: Challenges, relay: ChallengeRelay, count: int) -> float:
    stop = threading.Event()
    publishing = threading.Thread(target=relay.run, args=(stop,))

    def settle(first: int) -> None:
        for number in range(first, count, _AT_ONCE):
            record, code = _asked(service, f"account-{number % _ACCOUNTS}", f"payment-{number}")
            result, _ = service.answer(record.challenge_id, _answer(service, record, "sms", code))
            if result != "approved":
                raise AssertionError(f"the correct code was answered with {result}")

    began = time.monotonic()
    publishing.start()
    try:
        with ThreadPoolExecutor(_AT_ONCE) as customers:
            list(customers.map(settle, range(_AT_ONCE)))
    finally:
        stop.set()
    publishing.join()
    return count / (time.monotonic() - began)


def _parallel(service: Challenges) -> int:
    record, code = _asked(service, "account-0", "at-once")
    answer = _answer(service, record, "sms", code)
    results: Counter[str] = Counter()
    gate = threading.Barrier(_PARALLEL)

    def submit() -> None:
        gate.wait()
        results[service.answer(record.challenge_id, answer)[0]] += 1

    threads = [threading.Thread(target=submit) for _ in range(_PARALLEL)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results["approved"]


def _guess(service: Challenges, guesses: int) -> tuple[int, int, bool]:
    """Guess the codes of an authenticator app, five per challenge; return compared, hits, and whether locked."""
    _enrol(service, "victim", totp=True)
    judged = hits = 0
    record = None
    for number in range(guesses):
        if record is None or record.status != "issued":
            record = service.issue(_binding("victim", f"guessed-{number}"))
        guess = f"{int.from_bytes(os.urandom(8)) % 10**TOTP_DIGITS:0{TOTP_DIGITS}d}"
        result, record = service.answer(record.challenge_id, _answer(service, record, "totp", guess))
        judged += record.cause != "account locked"
        hits += result == "approved"
    last = service.issue(_binding("victim", "last"))
    result, last = service.answer(last.challenge_id, _answer(service, last, "totp", "000000"))
    return judged, hits, last.cause == "account locked"


def _asked(service: Challenges, account_id: str, transaction_id: str) -> tuple[ChallengeRecord, str]:
    """Return an issued challenge, and its SMS code as created by the notifier."""
    service.issue(_binding(account_id, transaction_id))
    challenge_id = challenge_id_of(account_id, transaction_id)
    claimed = service.begin_notification(challenge_id, service.clock.now_ms() + MINUTE)
    if claimed is None:
        raise AssertionError(f"{transaction_id} is not to be notified")
    state, secrets = claimed
    return state.record, secrets.code


def _binding(account_id: str, transaction_id: str) -> Binding:
    return Binding(transaction_id=transaction_id, account_id=account_id, amount=12_345, currency="EUR", payee="shop")


def _answer(service: Challenges, record: ChallengeRecord, factor: str, value: str) -> ChallengeAnswer:
    return msgspec.convert(
        {"factor": factor, "value": value, "shown": service.shown(record.challenge_id, record.binding)}, ChallengeAnswer
    )


def _enrol(service: Challenges, account_id: str, *, totp: bool) -> None:
    sealed = service.keys.seal(new_secret(os.urandom), f"totp {account_id}", os.urandom) if totp else ""
    account = Account(account_id=account_id, phone="" if totp else "+34600000001", totp=sealed)
    service.store.replace_account(Account(account_id=account_id), account)
