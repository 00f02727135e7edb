"""The same payment again: after a restart, and through another gateway."""

import threading
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from tests.conftest import wait_for
from tests.gateway.conftest import PATIENT_MS, WITHIN_S, Bank, decided, payment
from vedette.client import Answer, GatewayClient, ProblemError
from vedette.events import Transaction


def same(one: Answer, other: Answer) -> bool:
    """Whether two answers say the same about a payment."""
    return msgspec.structs.replace(one, latency_ms=0.0) == msgspec.structs.replace(other, latency_ms=0.0)


def test_the_same_payment_has_one_decision_everywhere(bank: Bank) -> None:
    """Another gateway, and one that starts later, return the decision of the first, and refuse another body."""
    bank.worker()
    one, other = bank.gateway(), bank.gateway()
    paid = payment()
    with bank.client(one) as first, bank.client(other) as second:
        answer = decided(first, paid)
        wait_for(lambda: same(second.decide(paid, deadline_ms=PATIENT_MS), answer), WITHIN_S)
    one.kill()
    with bank.client(bank.gateway()) as later:
        assert same(later.look_up(paid.transaction_id), answer)
        assert same(later.decide(paid), answer)
        with pytest.raises(ProblemError) as refused:
            later.decide(msgspec.structs.replace(paid, amount=paid.amount + 1))
        assert (refused.value.problem.status, refused.value.problem.field) == (409, "amount")
    assert [each.transaction_id for each in bank.decisions()] == [paid.transaction_id]


def test_two_gateways_and_one_id_at_once(bank: Bank) -> None:
    """Of two bodies sent at the same time one is decided, and the other is refused by both gateways."""
    bodies = [payment("t"), payment("t", account_id="a1", event_time=1_700_000_000_000)]
    bodies[0] = msgspec.structs.replace(bodies[1], amount=bodies[1].amount + 1)
    gateways = [bank.gateway(), bank.gateway()]
    # With patience: a busy broker may acknowledge the payment later than the deadline, which is 503 until it does.
    patient = {"patience_s": WITHIN_S}
    with bank.client(gateways[0], **patient) as one, bank.client(gateways[1], **patient) as other:
        together = threading.Barrier(2)

        def ask(client: GatewayClient, paid: Transaction) -> None:
            together.wait()
            client.decide(paid, deadline_ms=50)

        with ThreadPoolExecutor(2) as pool:
            for each in [pool.submit(ask, one, bodies[0]), pool.submit(ask, other, bodies[1])]:
                each.result()
        bank.worker()

        def outcome(client: GatewayClient, paid: Transaction) -> str:
            try:
                answer = client.decide(paid, deadline_ms=PATIENT_MS)
            except ProblemError as refused:
                return refused.problem.field
            return "provisional" if answer.provisional else "decided"

        def outcomes() -> list[str]:
            return [outcome(one, bodies[0]), outcome(other, bodies[1])]

        wait_for(lambda: "provisional" not in outcomes(), WITHIN_S)
        assert sorted(outcomes()) == ["amount", "decided"]
    assert len(bank.decisions()) == 1
