"""The reader at the other end: sees every decision, alert, challenge and dead letter as a customer of Vedette would."""

import time
from array import array
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition

from vedette import Alert, Challenge, Decision, Settings
from vedette.errors import UnavailableError
from vedette.topics import Name

_READ = (Name.DECISIONS, Name.ALERTS, Name.CHALLENGES, Name.DLQ)
_AT_ONCE = 5_000
_RECENT = 5_000
_CHALLENGES_SHOWN = 6
_DRAIN_WITHIN_S = 30.0


@dataclass
class Seen:
    """What has been read so far."""

    decisions: int = 0
    decided: set[str] = field(default_factory=set)
    """Transactions that have a decision."""
    flagged: set[str] = field(default_factory=set)
    """Those whose decision was not to approve."""
    challenged: set[str] = field(default_factory=set)
    """Those whose customer is asked."""
    finals: dict[str, str] = field(default_factory=dict)
    """What the customer's answer has made of them: the action of the final decision."""
    alerts: int = 0
    dead: list[bytes] = field(default_factory=list)
    """Values of the dead-letter topic."""
    latencies: "array[float]" = field(default_factory=lambda: array("d"))
    """Of the first decision on each transaction, in seconds."""
    last_at: float = 0.0
    """When the last decision was read, on time.monotonic."""

    @property
    def alerts_due(self) -> int:
        """How many alerts there must be: one for every flagged payment, another for every one its customer denied."""
        return len(self.flagged) + sum(action == "decline" for action in list(self.finals.values()))


class Watch:
    """Reads what comes out, the dead letters too, from the beginnings of the topics, in a thread of its own.

    Latency is the time from the hand-over of a transaction to the producer until its decision has been read here,
    both taken in this process from one clock that never goes back.

    Args:
        settings: Where the broker is.
        left_at: When each transaction was handed over, on time.monotonic, by transaction id.
    """

    def __init__(self, settings: Settings, left_at: Mapping[str, float]) -> None:
        self.seen = Seen()
        self.ending = Event()
        """Set it to have the topics read to their present ends, and no further."""
        self.abandoned = Event()
        """Set it as well, and what is left is not read."""
        self._left_at = left_at
        self._actions: Counter[str] = Counter()
        self._last_alerts: deque[Alert] = deque(maxlen=8)
        self._challenges: dict[str, Challenge] = {}
        self._lock = Lock()
        self._decision = msgspec.json.Decoder(Decision)
        self._alert = msgspec.json.Decoder(Alert)
        self._challenge = msgspec.json.Decoder(Challenge)
        self._topics = {settings.topics.prefix + name: name for name in _READ}
        self._consumer = Consumer(
            settings.kafka.client_config()
            | {
                "group.id": "vedette-demo",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 100,
                "log_level": 2,
            }
        )
        self._assigned = [
            TopicPartition(topic, partition, 0)
            for topic in self._topics
            for partition in range(settings.topics.partitions)
        ]
        self._consumer.assign(self._assigned)

    def run(self) -> None:
        """Read until told to end.

        Raises:
            UnavailableError: The broker does not let it read to the end.
        """
        try:
            while not self.ending.is_set():
                self._take(0.1)
            deadline = time.monotonic() + _DRAIN_WITHIN_S
            while not self.abandoned.is_set() and not self._at_end():
                self._take(0.1)
                if time.monotonic() > deadline:
                    raise UnavailableError(f"the topics were not read to their ends within {_DRAIN_WITHIN_S:g} s")
        except KafkaException as error:
            raise UnavailableError(f"the broker does not answer: {error.args[0].str()}") from error
        finally:
            self._consumer.close()

    @property
    def actions(self) -> Counter[str]:
        """Decisions by action."""
        with self._lock:
            return Counter(self._actions)

    @property
    def last_alerts(self) -> list[Alert]:
        """The newest alerts, newest first."""
        with self._lock:
            return list(reversed(self._last_alerts))

    @property
    def last_challenges(self) -> list[Challenge]:
        """How those who were asked last stand, the newest first."""
        with self._lock:
            return list(reversed(self._challenges.values()))

    def recent_latencies(self) -> "array[float]":
        """Of the last few thousand decisions, in seconds."""
        with self._lock:
            return self.seen.latencies[-_RECENT:]

    def _take(self, timeout_s: float) -> None:
        """Read what is there; wait for the first message only, since a wait for many would add to the latency."""
        first = self._consumer.poll(timeout_s)
        if first is None:
            return
        self._absorb([first], time.monotonic())
        self._absorb(self._consumer.consume(_AT_ONCE, 0), time.monotonic())

    def _absorb(self, messages: list[Any], now: float) -> None:
        for message in messages:
            if error := message.error():
                if error.fatal():
                    raise UnavailableError(f"the topics cannot be read: {error.str()}")
                continue  # the client has lost the broker for a moment and goes on by itself
            value = message.value() or b""
            match self._topics[message.topic()]:
                case Name.DECISIONS:
                    self._decide(self._decision.decode(value), now)
                case Name.ALERTS:
                    with self._lock:
                        self._last_alerts.append(self._alert.decode(value))
                    self.seen.alerts += 1
                case Name.CHALLENGES:
                    self._ask(self._challenge.decode(value))
                case _:
                    self.seen.dead.append(value)

    def _decide(self, decision: Decision, now: float) -> None:
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
            if id_ not in seen.decided and id_ in self._left_at:
                seen.latencies.append(now - self._left_at[id_])
        seen.decided.add(id_)

    def _ask(self, challenge: Challenge) -> None:
        with self._lock:
            self._challenges[challenge.challenge_id] = challenge
            if len(self._challenges) > _CHALLENGES_SHOWN:
                del self._challenges[next(iter(self._challenges))]

    def _at_end(self) -> bool:
        places = {(place.topic, place.partition): place.offset for place in self._consumer.position(self._assigned)}
        for place in self._assigned:
            low, high = self._consumer.get_watermark_offsets(place, timeout=10.0, cached=False)
            if low < high and places[place.topic, place.partition] < high:
                return False
        return True
