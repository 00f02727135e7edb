"""A payment whose customer is to be asked: what payer and card switch get, and where the challenge is."""

import httpx2
import msgspec
import pytest

from access.admin import create
from stack.gateway import GatewayProcess
from stack.process import free_ports
from tests.card_messages import message
from tests.conftest import wait_for
from tests.gateway.conftest import WITHIN_S, Bank, decided, payment
from tests.gateway.test_iso8583 import ask, cards, now, switch

__all__ = ["cards"]

RULES = "rules:\n  - {name: asked, when: amount = 77, action: challenge, reason: is asked about}\n"


@pytest.fixture
def asking(cards: Bank) -> Bank:
    """A bank whose policy asks about every payment of 77.00, with a challenge service."""
    shipped = cards.settings.decisions.policy_file.read_text(encoding="utf-8")
    policy = cards.directory / "policy.yaml"
    policy.write_text(shipped[: shipped.index("rules:\n")] + RULES, encoding="utf-8")
    (port,) = free_ports(1)
    replaced, settings = msgspec.structs.replace, cards.settings
    cards.settings = replaced(
        settings, decisions=replaced(settings.decisions, policy=str(policy)),
        mfa=replaced(
            settings.mfa, port=port, public_url=f"http://localhost:{port}", group=f"{settings.topics.prefix}mfa"
        ),
    )  # fmt: skip
    return cards


def test_the_answer_says_where_the_challenge_is(asking: Bank) -> None:
    """It is not final, and its link leads to the challenge once it is issued; a switch gets the code of a challenge."""
    asking.worker()
    gateway = asking.gateway()
    service = GatewayProcess(asking.settings, asking.directory, "mfa", service="mfa")
    asking.gateways.append(service)
    paid = payment(amount=7_700)
    with asking.client(gateway) as client:
        answer = decided(client, paid)
        plain = decided(client, payment(amount=7_600))
    assert (answer.action, answer.final, answer.provisional) == ("challenge", False, False)
    assert plain.challenge is msgspec.UNSET
    assert isinstance(answer.challenge, msgspec.Struct)
    assert (
        answer.challenge.link == f"{service.url.replace('127.0.0.1', 'localhost')}/v1/challenges/{answer.challenge.id}"
    )
    key = {"X-API-Key": create(asking.settings, "app", "app", [], days=1).api_key}
    wait_for(lambda: service.ready or not service.running, WITHIN_S)
    assert service.running, service.log_tail
    wait_for(lambda: httpx2.get(answer.challenge.link, headers=key).status_code == 200, WITHIN_S)  # type: ignore[union-attr]
    issued = httpx2.get(answer.challenge.link, headers=key).json()
    assert (issued["transaction_id"], issued["amount"]) == (paid.transaction_id, 7_700)
    sent = now(f11="000001", f4="000000007700")
    with switch(asking.settings.iso8583.port) as connection:
        wait_for(lambda: ask(connection, message(**sent))["39"] == "1A", WITHIN_S)
