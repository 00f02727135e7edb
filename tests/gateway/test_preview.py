"""Previews: what the worker would decide, without any effect."""

from pathlib import Path

import msgspec
import pytest

from tests.conftest import wait_for
from tests.gateway.conftest import WITHIN_S, Bank, decided, payment
from vedette.client import ProblemError
from vedette.events import Transaction


def history(account_id: str) -> list[Transaction]:
    """Return ten payments of an account, a minute apart, the last one large."""
    start = payment().event_time - 3_600_000
    return [
        payment(
            f"{account_id}-{number}", account_id=account_id, event_time=start + 60_000 * number,
            amount=500_000 if number == 9 else 1_500, merchant_id=f"m{number}", channel="ecom", country="ES",
        )
        for number in range(10)
    ]  # fmt: skip


@pytest.mark.runs("preview run")
def test_a_preview_is_the_decision_that_follows(previews: Bank) -> None:
    """A preview with the same history equals the decision; repeated it is the same, as it has no effect."""
    paid = history("preview")
    with previews.client(previews.gateways[0]) as client:
        for number, each in enumerate(paid):
            if number:
                wait_for(lambda before=paid[number - 1]: seen(previews, before), WITHIN_S)
            first, second = client.preview(each), client.preview(each)
            assert msgspec.structs.replace(first, latency_ms=0) == msgspec.structs.replace(second, latency_ms=0)
            assert each.transaction_id not in {d.transaction_id for d in previews.decisions()}
            answer = decided(client, each)
            assert (first.action, first.score, first.reasons, first.rules, first.model, first.policy) == (
                answer.action, answer.score, answer.reasons, answer.rules, answer.model, answer.policy,
            )  # fmt: skip


def seen(bank: Bank, paid: Transaction) -> bool:
    """Whether the state behind previews has a payment: it is then refused as decided before."""
    with bank.client(bank.gateways[0]) as client:
        try:
            client.preview(paid)
        except ProblemError as refused:
            return refused.problem.type.endswith(":decided-before")
        return False


def test_what_the_worker_would_set_aside_is_refused(previews: Bank) -> None:
    """A payment from the future gets 422 with the field."""
    with previews.client(previews.gateways[0]) as client, pytest.raises(ProblemError) as refused:
        client.preview(payment(event_time=4_000_000_000_000))
    assert (refused.value.problem.status, refused.value.problem.field) == (422, "event_time")


def test_only_the_token_opens_the_service(previews: Bank) -> None:
    """A gateway with another token gets no preview and no details; decisions are not affected."""
    other = Path(previews.directory / "other-token")
    other.write_text("wrong", encoding="ascii")
    preview = msgspec.structs.replace(
        previews.settings.preview,
        token=msgspec.structs.replace(previews.settings.preview.token, file=str(other)),
    )
    stranger = Bank(msgspec.structs.replace(previews.settings, preview=preview), previews.directory, previews.api_key)
    stranger.gateways.extend(previews.gateways)
    gateway = stranger.gateway()
    try:
        with stranger.client(gateway) as client:
            with pytest.raises(ProblemError) as refused:
                client.preview(payment())
            assert refused.value.problem.type.endswith(":preview-away")
            decided(client, payment())
    finally:
        gateway.kill()
