"""The messages that a batch publishes, and a publisher that confirms only after full acknowledgement."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, NamedTuple

import msgspec

from adapters.dead_letters import DeadLetters, Unreadable
from adapters.kafka_errors import is_missing, is_refusal, refused
from adapters.kafka_producer import KafkaProducer, Outgoing
from streams.decode import CARD_NUMBER, Reject
from streams.own_decisions import SIGNALS
from vedette.errors import DeliveryError
from vedette.events import Alert
from vedette.settings import KafkaSettings
from vedette.settings_cards import CardSettings
from vedette.topics import Name

LARGEST_MESSAGE = 16_000_000
"""Maximum size of a message in bytes, even if the topic accepts more."""

_QUEUE = 200_000
_METADATA_S = 10.0
_OVERHEAD = 4_096
"""Bytes reserved in a message for key, headers and the framing of the log."""
_LARGEST_LOT = 1_000_000
"""Maximum size of the producer's batches of small messages, in bytes; librdkafka's default."""


class OutgoingDecision(NamedTuple):
    """One decision as a message."""

    key: bytes
    """Account id."""
    value: bytes
    partition: int = -1
    """The partition of its payment; -1: that of the key."""
    signals: bytes = b""
    """The live signals that it saw, which travel as the header SIGNALS."""


@dataclass
class OutgoingMessages:
    """Messages of one batch."""

    topic: str
    """Topic of the batch, without prefix."""
    decisions: Sequence[OutgoingDecision] = ()
    alerts: list[Alert] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    features: list[bytes] = field(default_factory=list)
    """Record batches of the feature log."""
    features_partition: int = 0
    activity: Mapping[int, list[bytes]] = field(default_factory=dict)
    """Record batches by partition."""

    def __len__(self) -> int:
        batches = len(self.features) + sum(len(batches) for batches in self.activity.values())
        return len(self.decisions) + len(self.alerts) + len(self.rejects) + batches


class Delivery:
    """Delivery status of messages that were handed to the producer: acknowledged and failed ones.

    Args:
        messages: Number of messages.
        decisions: The decisions among them.
    """

    def __init__(self, messages: int, decisions: Sequence[OutgoingDecision] = ()) -> None:
        self.complete = not messages
        """Whether the result of every message is known."""
        self.failed: list[DeliveryFailure] = []
        self.decided: list[tuple[int, int]] = []
        """Partition and offset of every decision that is acknowledged."""
        self._decisions = decisions
        self._expect(messages)

    def _expect(self, messages: int) -> None:
        self._messages = messages
        self._settled = itertools.count(1)  # whose next() is atomic, whichever threads run the callbacks

    def note(self, error: Any, message: Any, headers: Any = None) -> None:
        """Record the result of a message; the producer calls this once for each."""
        if error:
            self.failed.append(DeliveryFailure(error, message, headers))
        if next(self._settled) == self._messages:
            self.complete = True

    def note_decision(self, error: Any, message: Any) -> None:
        """Record the result of a decision."""
        if error:
            self.note(error, message, self._headers.get(message.value()))
        else:
            self.decided.append((message.partition(), message.offset()))
            self.note(None, message)

    @cached_property
    def _headers(self) -> dict[bytes, list[tuple[str, bytes]]]:
        """The headers of decisions by their value, which differs for each: only failures need them."""
        return {one.value: [(SIGNALS, one.signals)] for one in self._decisions if one.signals}

    def take_failed(self) -> "list[DeliveryFailure]":
        """Return the messages that are to be sent again, and expect their results."""
        failed = self.failed
        if failed:
            self.complete, self.failed = False, []
            self._expect(len(failed))
        return failed


@dataclass(frozen=True)
class DeliveryFailure:
    """A message that the broker has not accepted, with the reason."""

    error: Any
    message: Any
    headers: list[tuple[str, bytes]] | None
    """Headers of the message, which the client does not return."""


class ResultPublisher:
    """An idempotent producer for the worker's topics.

    Args:
        settings: Settings of the broker.
        prefix: Prefix of the names of topics.
        limits: Maximum size of a message on each topic, in bytes.
        letters: Makes dead letters.
        timeout_s: Time-out for the acknowledgement of a message.
    """

    def __init__(
        self, settings: KafkaSettings, prefix: str, limits: Mapping[Name, int], letters: DeadLetters | None = None,
        *, timeout_s: float = 30.0,
    ) -> None:  # fmt: skip
        self._prefix = prefix
        self._wait_s = 2 * timeout_s  # by then the producer has given up on all messages
        self._limits = {name: min(limit, LARGEST_MESSAGE) - _OVERHEAD for name, limit in limits.items()}
        self._letters = letters or DeadLetters(CardSettings())
        self._encoder = msgspec.json.Encoder()
        self._producer = KafkaProducer(
            settings,
            delivery_timeout_s=timeout_s,
            tuning={
                "compression.type": "lz4",
                # Any linger holds a decision back by a millisecond at least, since librdkafka's timers are that coarse.
                # What is sent while requests are under way is gathered anyway.
                "linger.ms": 0,
                "socket.nagle.disable": True,
                "queue.buffering.max.messages": _QUEUE,
                "queue.buffering.max.kbytes": 1_048_576,
                "message.max.bytes": LARGEST_MESSAGE,
                # The producer sends small messages as one batch, which the broker accepts or refuses as a whole.
                "batch.size": min(_LARGEST_LOT, *self._limits.values()),
            },
            reports=True,
        )

    def limit(self, topic: Name) -> int:
        """Return the maximum size of the value of a message on a topic, in bytes."""
        return self._limits[topic]

    def send(self, messages: OutgoingMessages) -> Delivery:
        """Hand over messages without waiting for the broker.

        Raises:
            RefusedError: The producer has failed permanently.
        """
        delivery = Delivery(len(messages), messages.decisions)
        encode = self._encoder.encode
        self._producer.send_all(self._prefix + Name.DECISIONS, _with_signals(messages.decisions, delivery))
        for alert in messages.alerts:
            self._hand_over(delivery.note, self._prefix + Name.ALERTS, encode(alert), alert.account_id)
        for reject in messages.rejects:
            self._set_aside(delivery, reject, self._prefix + messages.topic)
        for message in messages.features:
            self._hand_over(delivery.note, self._prefix + Name.FEATURES, message, None, messages.features_partition)
        for partition, batches in messages.activity.items():
            for message in batches:
                self._hand_over(delivery.note, self._prefix + Name.ACTIVITY, message, None, partition)
        return delivery

    def wait(self, *deliveries: Delivery) -> None:
        """Return when all in-sync replicas have everything.

        When called again, it resends only the messages that the broker did not accept.

        Raises:
            DeliveryError: The broker has not accepted everything.
            RefusedError: The broker permanently refuses a message.
        """
        for delivery in deliveries:
            if delivery.complete:
                for failure in delivery.take_failed():
                    self._send_again(delivery, failure)
        deadline = time.monotonic() + self._wait_s
        while not all(delivery.complete for delivery in deliveries) and time.monotonic() < deadline:
            self._producer.poll(0.05)
        failures = [failure for delivery in deliveries for failure in delivery.failed]
        for failure in {failure.error.code(): failure for failure in failures}.values():
            if self._is_refused(failure):
                raise refused(failure.message.topic(), failure.error)
        if failures or not all(delivery.complete for delivery in deliveries):
            first = (
                f"{failures[0].message.topic()}: {failures[0].error.str()}"
                if failures
                else "the broker does not answer"
            )
            raise DeliveryError(
                f"{len(failures) or 'some'} messages were not delivered: {first}",
                remedy="is the broker up? `vedette doctor` looks",
            )

    def _is_refused(self, failure: DeliveryFailure) -> bool:
        """Return whether a failure is permanent."""
        topic, partition = failure.message.topic(), failure.message.partition()
        missing = is_missing(failure.error) and not self._producer.has(topic, partition or 0, timeout_s=_METADATA_S)
        return missing or is_refusal(failure.error)

    def _set_aside(self, delivery: Delivery, reject: Reject, topic: str) -> None:
        """Send a dead letter."""
        record = reject.record
        message = Unreadable(
            topic, record.partition, record.offset, record.key, record.value, reject.kind, reject.reason,
            card_number=reject.kind == CARD_NUMBER,
        )  # fmt: skip
        key, value, headers = self._letters.letter(message, self._limits[Name.DLQ])
        self._hand_over(partial(delivery.note, headers=headers), self._prefix + Name.DLQ, value, key, headers=headers)

    def _send_again(self, delivery: Delivery, failure: DeliveryFailure) -> None:
        message, headers = failure.message, failure.headers
        note: Callable[..., None] = partial(delivery.note, headers=headers) if headers else delivery.note
        if message.topic() == self._prefix + Name.DECISIONS:
            note = delivery.note_decision
        partition = -1 if message.partition() is None else message.partition()  # None: not chosen yet
        self._hand_over(note, message.topic(), message.value(), message.key(), partition, headers)

    def _hand_over(
        self, note: Callable[..., None], topic: str, value: bytes | None, key: str | bytes | None,
        partition: int = -1, headers: list[tuple[str, bytes]] | None = None,
    ) -> None:  # fmt: skip
        self._producer.send(topic, value, key, partition=partition, headers=headers, on_delivery=note)


def _with_signals(decisions: Iterable[OutgoingDecision], delivery: Delivery) -> Iterator[Outgoing]:
    """Yield decisions as the producer takes them."""
    note = delivery.note_decision
    for key, value, partition, signals in decisions:
        yield key, value, partition, [(SIGNALS, signals)] if signals else None, note
