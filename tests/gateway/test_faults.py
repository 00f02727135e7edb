"""Outages of broker, Redis and topics: each has its own outcome, and no accepted payment is lost."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from confluent_kafka.admin import AdminClient

from adapters.kafka_client import client_config
from stack.local import LocalStack
from stack.topics import apply
from tests.certificates import certificate
from tests.conftest import SettingsFor, running, wait_for
from tests.gateway.conftest import PATIENT_MS, WITHIN_S, Bank, decided, new_bank, payment, status_of
from vedette.client import GatewayClient, ProblemError
from vedette.errors import UnavailableError
from vedette.topics import Name


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[LocalStack]:
    """A separate embedded broker and Redis, which the test may disturb."""
    yield from running(LocalStack(tmp_path / "stack"))


@pytest.fixture
def own_bank(own_stack: LocalStack, settings_for: SettingsFor, topic_prefix: str, tmp_path: Path) -> Iterator[Bank]:
    """A bank on a separate stack, with a policy that waits for Redis for half a second."""
    made = new_bank(settings_for(own_stack, topic_prefix), tmp_path)
    policy = tmp_path / "policy.yaml"
    shipped = made.settings.decisions.policy_file.read_text(encoding="utf-8")
    policy.write_text(f"{shipped}\ndegraded: {{after_s: 0.5}}\n", encoding="utf-8")
    decisions = msgspec.structs.replace(made.settings.decisions, policy=str(policy))
    made.settings = msgspec.structs.replace(made.settings, decisions=decisions)
    yield made
    made.stop()


def kind_of_refusal(client: GatewayClient) -> str:
    """Return status and kind of the problem for a new payment; empty: none."""
    try:
        client.decide(payment(), deadline_ms=PATIENT_MS)
    except ProblemError as refused:
        return f"{refused.problem.status} {refused.problem.type.rpartition(':')[2]}"
    return ""


def test_while_the_broker_is_away_nothing_is_accepted(own_bank: Bank, own_stack: LocalStack) -> None:
    """Known decisions are still returned; new payments get 503, and are decided once the broker is back."""
    own_bank.worker()
    before, after = payment(), payment()
    gateway = own_bank.gateway()
    with own_bank.client(gateway) as client:
        first = decided(client, before)
        own_stack.broker.stop()  # killed, the embedded broker would forget its last second
        wait_for(lambda: kind_of_refusal(client) == "503 broker-away", WITHIN_S)
        assert not gateway.ready
        assert client.decide(before).score == first.score
        own_stack.broker.start()
        with own_bank.client(gateway, patience_s=WITHIN_S) as patient:
            decided(patient, after)
        wait_for(lambda: gateway.ready, WITHIN_S)


def test_a_broker_slower_than_every_deadline_delays_a_payment_only(own_bank: Bank, own_stack: LocalStack) -> None:
    """While the first publishing is not acknowledged, the same payment gets 503, and one decision afterwards."""
    own_bank.worker()
    paid = payment()
    with own_bank.client(own_bank.gateway()) as client:
        os.kill(own_stack.broker.pid, signal.SIGSTOP)
        try:
            for _ in range(3):
                with pytest.raises(ProblemError, match="not known whether") as refused:
                    client.decide(paid, deadline_ms=20)
                assert refused.value.problem.status == 503
        finally:
            os.kill(own_stack.broker.pid, signal.SIGCONT)
        with own_bank.client(own_bank.gateways[0], patience_s=WITHIN_S) as patient:
            assert decided(patient, paid).transaction_id == paid.transaction_id
    assert [each.transaction_id for each in own_bank.decisions()] == [paid.transaction_id]


def test_while_redis_is_away_decisions_are_degraded(own_bank: Bank, own_stack: LocalStack) -> None:
    """The answer is the worker's decision without history, marked as degraded; the one with history follows."""
    own_bank.worker()
    paid = payment()
    with own_bank.client(own_bank.gateway()) as client:
        decided(client, payment())
        own_stack.redis.kill()

        def degraded() -> bool:
            answer = client.decide(paid, deadline_ms=PATIENT_MS)
            return answer.degraded and answer.provisional and answer.score is not None

        wait_for(degraded, WITHIN_S)
        assert client.look_up(paid.transaction_id).degraded
        own_stack.redis.start()
        assert not decided(client, paid).degraded
        assert not client.look_up(paid.transaction_id).degraded
    of_it = [each.degraded for each in own_bank.decisions() if each.transaction_id == paid.transaction_id]
    assert of_it == [True, False]


@pytest.mark.kafka
def test_a_missing_topic_is_named(
    apache_stack: LocalStack, settings_for: SettingsFor, topic_prefix: str, tmp_path: Path
) -> None:
    """On Apache Kafka payments are decided; without their topic they are refused by its name, until it is back."""
    bank = new_bank(settings_for(apache_stack, topic_prefix), tmp_path)
    topic = bank.settings.topics.prefix + Name.TRANSACTIONS
    try:
        bank.worker()
        paid = payment()
        with bank.client(bank.gateway()) as client:
            decided(client, paid)
            bank.workers[0].kill()
            admin = AdminClient(client_config(bank.settings.kafka))
            admin.delete_topics([topic])[topic].result(60)
            wait_for(lambda: kind_of_refusal(client) == "503 topic-missing", WITHIN_S)
            with pytest.raises(ProblemError, match="topic is missing") as refused:
                client.decide(payment())
            assert topic in refused.value.problem.detail
            assert "vedette topics apply" in refused.value.problem.remedy
            apply(bank.settings)
            wait_for(lambda: kind_of_refusal(client) == "", WITHIN_S)
            assert status_of(client, paid.transaction_id) == 200
    finally:
        bank.stop()


def test_only_clients_with_a_certificate_get_in(bank: Bank, tmp_path: Path) -> None:
    """With `client_ca` the gateway speaks only TLS, and refuses clients without a certificate of that authority."""
    authority = certificate(tmp_path, "authority")
    for name in ("server", "client"):
        certificate(tmp_path, name, authority)
    files = {
        name: str(tmp_path / name) for name in ("authority.pem", "server.pem", "server.key", "client.pem", "client.key")
    }
    gateway = bank.begin(
        certificate=files["server.pem"], certificate_key=files["server.key"], client_ca=files["authority.pem"]
    )
    url = gateway.url.replace("http://", "https://")
    known = GatewayClient(
        url, bank.api_key, ca_file=files["authority.pem"], certificate=files["client.pem"],
        certificate_key=files["client.key"], patience_s=WITHIN_S,
    )  # fmt: skip
    stranger = GatewayClient(url, bank.api_key, ca_file=files["authority.pem"], patience_s=0)
    with known, stranger:
        assert known.decide(payment(), deadline_ms=50).provisional
        with pytest.raises(UnavailableError):
            stranger.decide(payment(), deadline_ms=50)
