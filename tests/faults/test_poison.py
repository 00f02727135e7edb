import pytest

from tests.faults.conftest import Deploy, Stream
from tests.faults.harness import Message
from tests.streams.outcome import source
from tests.streams.poison import POISON
from vedette.topics import Name

KEYS = (b"A1", None, b"", b"\xff\xfe")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("stack_name", ["embedded_stack", pytest.param("apache_stack", marks=pytest.mark.kafka)])
def test_poison_of_every_kind_goes_to_the_dead_letters(
    stack_name: str, stream: Stream, deploy: Deploy, request: pytest.FixtureRequest
) -> None:
    """Poison reaches the dead-letter topic with its key, bytes, source and reason; what surrounds it is decided."""
    deployment = deploy(request.getfixturevalue(stack_name))
    payments = [message for message in stream.history if message.transaction_id][: 2 * len(POISON)]
    mixed = []
    for place, (poison, payment) in enumerate(zip(POISON, payments, strict=False)):
        mixed += [payment, Message(Name.TRANSACTIONS, KEYS[place % len(KEYS)], poison.value, poison=True)]
    deployment.publish(mixed)
    worker = deployment.worker()
    deployment.finish()
    deployment.publish(payments[len(POISON) :])
    deployment.finish()

    deployment.outcome().check(deployment.published)
    letters = deployment.topics.messages(Name.DLQ)
    assert len(letters) == len(POISON)
    says = {poison.value: poison.says for poison in POISON}
    for letter in letters:
        headers = {name: value.decode() for name, value in letter.headers()}
        assert headers.pop("__connect.errors.topic") == deployment.settings.topics.prefix + Name.TRANSACTIONS
        assert says[letter.value()] in headers.pop("__connect.errors.exception.message")
        assert headers.pop("__connect.errors.exception.class.name").endswith("Error")
        assert headers.pop("__connect.errors.stage") == "VALUE_CONVERTER"
        assert (int(headers.pop("__connect.errors.partition")), int(headers.pop("__connect.errors.offset"))) == source(
            letter
        )
        assert headers == {}
    assert worker.metric("vedette_dlq_total") == len(POISON)
    assert worker.metric("vedette_decisions_total") == len(payments)
    assert worker.stop() == 0
