"""Reads every decision, alert, challenge and dead letter from the topics, as a consumer outside Vedette would."""

import time
from array import array
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Any

import msgspec
import structlog

from adapters.kafka_consumer import TopicFollower
from adapters.kafka_reader import TopicReader
from vedette import Alert, Challenge, Decision, Settings
from vedette.errors import UnavailableError
from vedette.topics import Name

_READ = (Name.DECISIONS, Name.ALERTS, Name.CHALLENGES, Name.DLQ)
_AT_ONCE = 5_000
_RECENT = 5_000
_CHALLENGES_SHOWN = 6
_DRAIN_WITHIN_S = 30.0
_REST_AFTER_S = 2.0
_REST_S = 0.4

_log = structlog.get_logger("vedette.demo")


@dataclass
class Seen:
    """Messages read so far."""

    decisions: int = 0
    decided: set[str] = field(default_factory=set)
    """Transactions that have a decision."""
    flagged: set[str] = field(default_factory=set)
    """Transactions that were not approved."""
    challenged: set[str] = field(default_factory=set)
    """Transactions with a challenge to the customer."""
    finals: dict[str, str] = field(default_factory=dict)
    """The action of the final decision that followed the challenge, by transaction."""
    alerts: int = 0
    dead_letters: list[bytes] = field(default_factory=list)
    """Values on the dead-letter topic."""
    latencies: "array[float]" = field(default_factory=lambda: array("d"))
    """Latencies of the first decision on each transaction, in seconds."""
    last_at: float = 0.0
    """Time at which the last decision was read, on time.monotonic."""

    @property
    def alerts_due(self) -> int:
        """Number of alerts due: one for each flagged payment, and one more for each that its customer denied."""
        return len(self.flagged) + sum(action == "decline" for action in list(self.finals.values()))


class TopicWatch:
    """Reads the output topics and the dead letters from their beginnings; `run` belongs in a separate thread.

    Latency runs from the moment a transaction is handed to the producer until its decision has been read here, both on
    the monotonic clock of this process.

    Args:
        settings: Settings of the broker.
        sent_at: Time at which each transaction was handed over, on time.monotonic, by transaction id.
    """

    def __init__(self, settings: Settings, sent_at: Mapping[str, float]) -> None:
        self.seen = Seen()
        self.ending = Event()
        """When set, the topics are read to their current ends."""
        self.abandoned = Event()
        """When also set, remaining messages are not read."""
        self._sent_at = sent_at
        self._actions: Counter[str] = Counter()
        self._latest_alerts: deque[Alert] = deque(maxlen=8)
        self._challenges: dict[str, Challenge] = {}
        self._lock = Lock()
        self._decision = msgspec.json.Decoder(Decision)
        self._alert = msgspec.json.Decoder(Alert)
        self._challenge = msgspec.json.Decoder(Challenge)
        self._topics = {settings.topics.prefix + name: name for name in _READ}
        self._readers = {topic: TopicReader(settings, name) for topic, name in self._topics.items()}
        start = {(topic, partition): 0 for topic in self._topics for partition in range(settings.topics.partitions)}
        self._follower = TopicFollower(settings.kafka, start, _log, tuning={"fetch.wait.max.ms": 100})
        self._active_at = time.monotonic()

    def run(self) -> None:
        """Read until `ending` is set.

        Raises:
            UnavailableError: The topics cannot be read to their ends.
        """
        try:
            while not self.ending.is_set():
                self._take(0.1)
            deadline = time.monotonic() + _DRAIN_WITHIN_S
            while not self.abandoned.is_set() and not self._at_end():
                self._take(0.1)
                if time.monotonic() > deadline:
                    raise UnavailableError(f"the topics were not read to their ends within {_DRAIN_WITHIN_S:g} s")
        finally:
            self._follower.close()
            for reader in self._readers.values():
                reader.close()

    @property
    def actions(self) -> Counter[str]:
        """Decisions by action."""
        with self._lock:
            return Counter(self._actions)

    @property
    def latest_alerts(self) -> list[Alert]:
        """The latest alerts, newest first."""
        with self._lock:
            return list(reversed(self._latest_alerts))

    @property
    def latest_challenges(self) -> list[Challenge]:
        """The latest challenges with their status, newest first."""
        with self._lock:
            return list(reversed(self._challenges.values()))

    def recent_latencies(self) -> "array[float]":
        """Latencies of the last few thousand decisions, in seconds."""
        with self._lock:
            return self.seen.latencies[-_RECENT:]

    def _take(self, timeout_s: float) -> None:
        """Read available messages; wait for the first only, since waiting for many would add to the latency."""
        first = self._follower.take(1, timeout_s)
        if not first:
            self._rest()
            return
        self._active_at = time.monotonic()
        self._read(first, self._active_at)
        self._read(self._follower.take(_AT_ONCE, 0), time.monotonic())

    def _rest(self) -> None:
        """Pause fetching after a period without messages."""
        if not self.ending.is_set() and time.monotonic() - self._active_at > _REST_AFTER_S:
            self._follower.rest(lambda: self.ending.wait(_REST_S) or not self._at_end())
            self._active_at = time.monotonic()  # fetched messages take a moment to arrive

    def _read(self, messages: list[Any], now: float) -> None:
        for message in messages:
            value = message.value() or b""
            match self._topics[message.topic()]:
                case Name.DECISIONS:
                    self._on_decision(self._decision.decode(value), now)
                case Name.ALERTS:
                    with self._lock:
                        self._latest_alerts.append(self._alert.decode(value))
                    self.seen.alerts += 1
                case Name.CHALLENGES:
                    self._on_challenge(self._challenge.decode(value))
                case _:
                    self.seen.dead_letters.append(value)

    def _on_decision(self, decision: Decision, now: float) -> None:
        seen, id_ = self.seen, decision.transaction_id
        if decision.final is True:
            seen.finals[id_] = decision.action
            return
        seen.decisions += 1
        seen.last_at = now
        if decision.action != "approve":
            seen.flagged.add(id_)
        if decision.action == "challenge":
            seen.challenged.add(id_)
        with self._lock:
            self._actions[decision.action] += 1
            if id_ not in seen.decided and id_ in self._sent_at:
                seen.latencies.append(now - self._sent_at[id_])
        seen.decided.add(id_)

    def _on_challenge(self, challenge: Challenge) -> None:
        with self._lock:
            self._challenges[challenge.challenge_id] = challenge
            if len(self._challenges) > _CHALLENGES_SHOWN:
                del self._challenges[next(iter(self._challenges))]

    def _at_end(self) -> bool:
        reached = self._follower.next_offsets
        return all(
            not known or reached[topic, partition] >= known.stop
            for topic, reader in self._readers.items()
            for partition, known in reader.current_offsets().items()
        )
