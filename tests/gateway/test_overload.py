"""What the gateway refuses before anything is published, and what it answers while no worker decides."""

import threading
from contextlib import closing

import pytest

from streams.history.run_output import Topics
from tests.conftest import wait_for
from tests.gateway.conftest import PATIENT_MS, WITHIN_S, Bank, decided, payment, status_of
from vedette.client import GatewayClient, ProblemError
from vedette.topics import Name


def published(bank: Bank) -> int:
    """Count the payments on the topic."""
    with closing(Topics(bank.settings)) as topics:
        return sum(topics.ends(Name.TRANSACTIONS).values())


def test_without_a_worker_the_policy_answers_and_the_decision_follows(bank: Bank) -> None:
    """The answer is provisional, by amount and channel; the same payment is decided once the worker is running."""
    small, cash = payment(amount=5_000), payment(channel="atm")
    with bank.client(bank.gateway()) as client:
        answers = [client.decide(each, deadline_ms=PATIENT_MS) for each in (small, payment(amount=5_001), cash)]
        assert [answer.action for answer in answers] == ["approve", "review", "decline"]
        assert {(answer.provisional, answer.final, answer.policy, answer.score) for answer in answers} == {
            (True, False, "default@1", None)
        }
        with pytest.raises(ProblemError) as undecided:
            client.look_up(small.transaction_id)
        assert undecided.value.problem.type.endswith(":undecided")
        bank.worker()
        assert decided(client, small).score is not None
        assert client.look_up(small.transaction_id).provisional is False
    assert published(bank) == 3


def test_a_stream_that_is_behind_takes_nothing_more(bank: Bank) -> None:
    """Once the oldest payment has waited for too long, others are refused and not published, until it is decided."""
    first = payment()
    with bank.client(bank.gateway(behind_s=0.5)) as client:
        client.decide(first, deadline_ms=PATIENT_MS)
        with pytest.raises(ProblemError) as refused:
            client.decide(payment(), deadline_ms=50)
        assert refused.value.problem.type.endswith(":stream-behind")
        assert published(bank) == 1
        bank.worker()
        wait_for(lambda: status_of(client, first.transaction_id) == 200, WITHIN_S)
        assert not decided(client, payment()).provisional


def test_a_duplicate_of_long_ago_does_not_stop_the_stream(bank: Bank) -> None:
    """A payment decided before the look-back gets no second decision, and still does not block the stream."""
    old = payment()
    bank.worker()
    with bank.client(bank.gateway(lookback_s=10)) as client:
        decided(client, old)
        wait_for(lambda: status_of(client, old.transaction_id) == 404, WITHIN_S)
    with bank.client(bank.gateway(lookback_s=10, behind_s=0.1)) as client:
        assert client.decide(old, deadline_ms=PATIENT_MS).provisional
        wait_for(lambda: accepted(client), WITHIN_S)


def accepted(client: GatewayClient) -> bool:
    """Whether a new payment gets its decision."""
    try:
        return not client.decide(payment(), deadline_ms=PATIENT_MS).provisional
    except ProblemError:
        return False


def test_no_more_payments_wait_than_may(bank: Bank) -> None:
    """One more is refused with a time to retry, and is not published."""
    gateway = bank.gateway(in_flight=1)
    with bank.client(gateway) as waiting, bank.client(gateway) as client:
        thread = threading.Thread(target=waiting.decide, args=(payment(),), kwargs={"deadline_ms": PATIENT_MS})
        thread.start()
        wait_for(lambda: published(bank) == 1)
        with pytest.raises(ProblemError) as refused:
            client.decide(payment(), deadline_ms=PATIENT_MS)
        thread.join()
    assert refused.value.problem.type.endswith(":too-many-in-flight")
    assert published(bank) == 1


def test_a_credential_has_its_share(bank: Bank) -> None:
    """Payments above a credential's rate are refused, each of a batch counted, and none of them published."""
    with bank.client(bank.gateway(payments_per_s=3)) as client, pytest.raises(ProblemError) as refused:
        client.decide_batch([payment() for _ in range(4)])
    assert (refused.value.problem.status, published(bank)) == (429, 0)
