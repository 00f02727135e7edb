"""Payments sent by HTTP and decided by a real worker."""

import msgspec
import pytest

from streams.history.run_output import Topics
from tests.conftest import wait_for
from tests.gateway.conftest import PATIENT_MS, Bank, decided, payment
from vedette.card_numbers import CardTokens, has_card_number
from vedette.client import ProblemError
from vedette.events import Label
from vedette.topics import Name

CARDS = ("4111111111111111", "5555555555554444", "378282246310005")


def test_a_payment_is_answered_with_the_decision_of_the_log(open_bank: Bank) -> None:
    """The answer is the worker's decision: action, score, rules, model and policy; a repeat gets the same."""
    paid = payment()
    with open_bank.client(open_bank.gateways[0]) as client:
        answer = decided(client, paid)
        again = client.decide(paid, deadline_ms=PATIENT_MS)
        seen = client.look_up(paid.transaction_id)
    (decision,) = [each for each in open_bank.decisions() if each.transaction_id == paid.transaction_id]
    assert (answer.action, answer.score, answer.rules) == (decision.action, decision.score, decision.rules)
    assert (answer.model, answer.policy) == (decision.model, decision.policy)
    assert [(reason.code, reason.text) for reason in answer.reasons] == [
        (reason.code, reason.text) for reason in decision.reasons
    ]
    assert (answer.degraded, answer.provisional) == (False, False)
    for other in (again, seen):
        assert msgspec.structs.replace(other, latency_ms=answer.latency_ms) == answer


def test_a_batch_is_answered_in_order(open_bank: Bank) -> None:
    """Each payment gets the answer it would get alone, and a refused one does not affect the others."""
    known = payment()
    batch = [payment(), payment(account_id=" a"), known, msgspec.structs.replace(known, amount=1), payment()]
    with open_bank.client(open_bank.gateways[0]) as client:
        decided(client, known)
        results = client.decide_batch(batch, deadline_ms=PATIENT_MS)
    assert [result.status for result in results] == [200, 422, 200, 409, 200]
    assert [result.problem.field for result in results if result.problem] == ["account_id", "amount"]
    assert [result.decision.transaction_id for result in results if result.decision] == [
        paid.transaction_id for paid in (batch[0], batch[2], batch[4])
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("amount", 7),
        ("account_id", "other"),
        ("event_time", 1_600_000_000_000),
        ("device_id", "d"),
        ("extra", {"x": 1}),
    ],
)
def test_another_body_under_an_id_is_refused(open_bank: Bank, field: str, value: object) -> None:
    """Whichever field differs is named, whether or not a decision contains it; the decision does not change."""
    paid = payment()
    with open_bank.client(open_bank.gateways[0]) as client:
        first = decided(client, paid)
        with pytest.raises(ProblemError) as refused:
            client.decide(msgspec.structs.replace(paid, **{field: value}))
        assert (refused.value.problem.status, refused.value.problem.field) == (409, field)
        assert client.look_up(paid.transaction_id).score == first.score


def test_a_payment_that_cannot_be_read_is_refused_in_the_words_of_a_dead_letter(open_bank: Bank) -> None:
    """Field, value and remedy are named; nothing is published."""
    wrong = msgspec.structs.replace(payment(), currency="EURO")
    with open_bank.client(open_bank.gateways[0]) as client, pytest.raises(ProblemError) as refused:
        client.decide(wrong)
    problem = refused.value.problem
    assert (problem.status, problem.field, problem.value) == (422, "currency", "EURO")
    assert "$.currency" in problem.detail
    assert "vedette schema" in problem.remedy
    with open_bank.client(open_bank.gateways[0]) as client, pytest.raises(ProblemError) as refused:
        client.decide(payment(event_time=4_000_000_000_000))
    assert "ahead of the message's own time" in refused.value.problem.detail


def test_card_numbers_become_tokens_at_the_door(open_bank: Bank) -> None:
    """No topic and no log has one; the payment is found under it; among vendor features it is refused."""
    paid = payment(CARDS[0], account_id=CARDS[1], payee=f"card {CARDS[2]}")
    tokens = CardTokens(open_bank.settings.cards.key)
    with open_bank.client(open_bank.gateways[0]) as client:
        answer = decided(client, paid)
        assert answer.transaction_id == tokens.account_of(CARDS[0])
        assert client.look_up(CARDS[0]).transaction_id == answer.transaction_id
        with pytest.raises(ProblemError) as refused:
            client.decide(payment(extra={"pan": float(CARDS[0])}))
        assert (refused.value.problem.status, refused.value.problem.type) == (422, "urn:vedette:problem:card-number")
        assert refused.value.problem.field == "extra"
        with pytest.raises(ProblemError) as unreadable:
            client.decide(payment(account_id=f" {CARDS[0]}"))
        assert not has_card_number(str(unreadable.value.problem))
    topics = Topics(open_bank.settings)
    try:
        kept = [part for name in Name for m in topics.messages(name) for part in (m.key(), m.value())]
    finally:
        topics.close()
    assert any(part and tokens.account_of(CARDS[1]).encode() in part for part in kept)
    logged = [open_bank.gateways[0].log.read_bytes(), open_bank.workers[0].log.read_bytes()]
    assert not any(card.encode() in part for card in CARDS for part in [*kept, *logged] if part)


def test_an_id_that_nobody_knows_is_404(open_bank: Bank) -> None:
    """A payment that was never submitted has no decision."""
    with open_bank.client(open_bank.gateways[0]) as client, pytest.raises(ProblemError) as refused:
        client.look_up("nobody/knows me")
    assert (refused.value.problem.status, refused.value.problem.value) == (404, "nobody/knows me")


def test_payments_and_labels_are_accepted_line_by_line(open_bank: Bank) -> None:
    """A line that cannot be read is refused by its number; the others are decided, and labels reach the worker."""
    paid = [payment(), payment(account_id="a "), payment()]
    with open_bank.client(open_bank.gateways[0]) as client:
        results = client.submit(paid)
        assert [(result.line, result.status) for result in results] == [(1, 202), (2, 422), (3, 202)]
        labels = [
            Label(
                transaction_id=each.transaction_id, account_id=each.account_id, fraud=False, source="analyst",
                event_time=each.event_time, labelled_at=each.event_time,
            )
            for each in paid
        ]  # fmt: skip
        assert [result.status for result in client.label(labels)] == [202, 422, 202]
    wanted = {paid[0].transaction_id, paid[2].transaction_id}
    wait_for(lambda: wanted <= {each.transaction_id for each in open_bank.decisions()})
