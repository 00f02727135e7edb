"""From a payment to a verified webhook: API, worker, `vedette webhooks run` and a receiver, all real."""

import httpx2
import msgspec
import pytest
from standardwebhooks import Webhook

from stack.gateway import GatewayProcess
from stack.process import free_ports
from tests.conftest import wait_for
from tests.gateway.conftest import WITHIN_S, Bank, decided, payment
from tests.gateway.webhooks.conftest import Receiver
from vedette.settings import WebhookSettings


@pytest.mark.runs("webhooks run", "gateway run", "worker")
def test_a_decision_reaches_who_registered_for_it(bank: Bank, receiver: Receiver) -> None:
    """It arrives once, verifiable, through a kill of the sender; paused it waits; another key has no access to it."""
    own = WebhookSettings(group=f"{bank.settings.topics.prefix}hooks", port=free_ports(1)[0], allow_private=True)
    bank.settings = msgspec.structs.replace(bank.settings, webhooks=own)
    bank.worker()
    gateway = bank.gateway()
    api = httpx2.Client(base_url=f"{gateway.url}/v1", headers={"X-API-Key": bank.api_key}, timeout=30)
    with api, bank.client(gateway) as client:
        made = api.post("/webhooks", json={"url": receiver.url, "events": ["decision.final"]})
        assert made.status_code == 201, made.text
        id_, secret = made.json()["endpoint"]["id"], made.json()["secret"]
        assert secret not in api.get("/webhooks").text
        running = _run(bank, "one")
        answer = decided(client, payment())
        wait_for(lambda: bool(receiver.got), WITHIN_S)
        headers, body = receiver.got[0]
        data = Webhook(secret).verify(body.decode(), headers)["data"]
        assert (data["transaction_id"], data["action"], data["score"]) == (
            answer.transaction_id, answer.action, answer.score,
        )  # fmt: skip
        assert api.post(f"/webhooks/{id_}/pause").json()["state"] == "paused"
        paid = [payment() for _ in range(5)]
        for each in paid:
            decided(client, each)
        wait_for(lambda: _waiting(api, id_) == 5, WITHIN_S)
        running.kill()
        assert api.post(f"/webhooks/{id_}/resume").json()["state"] == "active"
        _run(bank, "two")
        wait_for(lambda: len(receiver.got) == 6, WITHIN_S)
        assert api.post(f"/webhooks/{id_}/replay", json={"since": 0}).json()["replayed"] == 6
        wait_for(lambda: len(receiver.got) == 12, WITHIN_S)
        assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 6
        assert api.delete(f"/webhooks/{id_}").status_code == 204
        assert api.get(f"/webhooks/{id_}/deliveries").status_code == 404
        assert api.post("/webhooks", json={"url": "https://bank.example", "events": ["x"]}).status_code == 422


def _run(bank: Bank, name: str) -> GatewayProcess:
    process = GatewayProcess(bank.settings, bank.directory, f"webhooks-{name}", service="webhooks")
    bank.gateways.append(process)
    wait_for(lambda: process.ready or not process.running, WITHIN_S)
    assert process.running, process.log_tail
    return process


def _waiting(api: httpx2.Client, id_: str) -> int:
    return len(api.get(f"/webhooks/{id_}/deliveries", params={"status": "pending"}).json())
