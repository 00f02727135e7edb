"""Which payments were decided otherwise before, with decisions on a real broker."""

from collections.abc import Callable

import msgspec
import pytest
from confluent_kafka import Producer

from adapters.kafka_client import client_config
from adapters.kafka_consumer import KafkaMessage
from challenges.first_decisions import FirstDecisions
from vedette.events import Action, Decision
from vedette.settings import Settings
from vedette.topics import Name

Decide = Callable[..., KafkaMessage]
NOW = 1_700_000_000_000


@pytest.fixture
def decide(settings: Settings) -> Decide:
    """Publishes a decision, and returns it as a consumer gets it."""
    producer = Producer(client_config(settings.kafka))
    topic = settings.topics.prefix + Name.DECISIONS

    def publish(
        payment: int, action: Action, partition: int = 0, *, at: int = NOW, final: bool = False, degraded: bool = False,
        value: bytes = b"",
    ) -> KafkaMessage:  # fmt: skip
        made = Decision(
            transaction_id=f"t{payment}", account_id=f"a{payment}", event_time=1, amount=1, currency="EUR",
            action=action, score=0.5, expected_loss=0, reasons=[], rules=[], model="m", policy="p", features_hash="f",
            degraded=degraded, final=final or msgspec.UNSET,
        )  # fmt: skip
        value = value or msgspec.json.encode(made)
        places: list[int] = []
        producer.produce(
            topic, value, partition=partition, timestamp=at, on_delivery=lambda _, sent: places.append(sent.offset())
        )
        assert producer.flush(30) == 0
        return KafkaMessage(topic, partition, places[0], value, at)

    return publish


def before(firsts: FirstDecisions, message: KafkaMessage, payment: int) -> bool:
    """Whether the payment of a message was decided otherwise before it."""
    return firsts.decided_before(message, f"a{payment}", f"t{payment}")


def test_a_challenge_after_another_decision_is_not_the_first(settings: Settings, decide: Decide) -> None:
    """The first regular decision counts; degraded and final ones, other payments and other partitions do not."""
    firsts = FirstDecisions(settings)
    messages = [
        decide(1, "approve"), decide(1, "challenge"),
        decide(2, "challenge"), decide(2, "approve"), decide(2, "challenge"),
        decide(3, "decline", degraded=True), decide(3, "challenge"),
        decide(4, "decline", final=True), decide(4, "challenge"),
        decide(5, "review", 1), decide(5, "challenge", 0),
    ]  # fmt: skip
    for message in messages:
        firsts.note(message)
    asked = {1: messages[1], 2: messages[2], 3: messages[6], 4: messages[8], 5: messages[10]}
    assert [payment for payment, message in asked.items() if before(firsts, message, payment)] == [1]
    firsts.note(messages[2])
    assert not before(firsts, messages[2], 2), "delivered again it is still the first"


def test_what_was_decided_before_a_partition_was_taken_over_is_read(settings: Settings, decide: Decide) -> None:
    """The look-back is read at the first message, and what somebody else has read meanwhile when it comes back."""
    decide(1, "approve", at=NOW - 3_600_000)
    decide(2, "approve", at=NOW - 60_000)
    decide(0, "approve", value=b'{"no": "decision"}')
    firsts = FirstDecisions(settings)
    asked = decide(2, "challenge")
    firsts.note(asked)
    assert before(firsts, asked, 2)
    assert not before(firsts, asked, 1), "it is older than the look-back"
    decide(3, "decline")
    asked = decide(3, "challenge")
    firsts.note(asked)
    assert before(firsts, asked, 3)


def test_memory_is_bounded(settings: Settings, decide: Decide) -> None:
    """The oldest payments are forgotten, the newest half of what may be remembered never."""
    firsts = FirstDecisions(settings, remember=20)
    for payment in range(100):
        firsts.note(decide(payment, "approve"))
    last = decide(99, "challenge")
    remembered = [payment for payment in range(100) if before(firsts, last, payment)]
    assert 10 <= len(remembered) <= 22
    assert remembered == list(range(100 - len(remembered), 100))
