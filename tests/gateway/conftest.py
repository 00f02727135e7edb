"""What tests of the gateway share: a broker with a real worker, and gateways for it."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from access.admin import create
from stack.gateway import GatewayProcess, gateway_settings
from stack.process import free_ports
from stack.state import StackState
from stack.topics import apply
from stack.worker import WorkerProcess
from streams.history.run_output import Topics
from tests.conftest import SettingsFor, wait_for
from vedette.client import Answer, GatewayClient, ProblemError
from vedette.clock import SystemClock
from vedette.events import Decision, Transaction
from vedette.settings import Settings
from vedette.settings_base import Secret
from vedette.settings_cards import CardSettings
from vedette.topics import Name

WITHIN_S = 120.0
PATIENT_MS = 2_000
"""The longest deadline: a machine under load is slow, and no test is about how fast it is."""

_numbers = itertools.count()


def payment(transaction_id: str = "", **said: Any) -> Transaction:
    """Return a current payment, with a new id unless one is given."""
    number = next(_numbers)
    whole: dict[str, Any] = {
        "transaction_id": transaction_id or f"t{number}", "account_id": f"a{number % 7}", "amount": 1_000 + number,
        "currency": "EUR", "event_time": SystemClock().now_ms(), "merchant_id": "m1", "channel": "pos",
    }  # fmt: skip
    return msgspec.convert(whole | said, Transaction)


@dataclass
class Bank:
    """A deployment with its worker and its gateways.

    Attributes:
        settings: All of them.
        directory: For files.
        api_key: Of a credential with the role `payments`.
    """

    settings: Settings
    directory: Path
    api_key: str
    workers: list[WorkerProcess] = field(default_factory=list)
    gateways: list[GatewayProcess] = field(default_factory=list)

    def worker(self) -> WorkerProcess:
        """Start a worker and wait until it is ready."""
        process = WorkerProcess(self.settings, self.directory, f"worker-{len(self.workers)}")
        self.workers.append(process)
        wait_for(lambda: process.ready or not process.running, WITHIN_S)
        assert process.running, process.log_tail
        return process

    def gateway(self, **changes: Any) -> GatewayProcess:
        """Start one more gateway, with some of its settings changed, and wait until it is ready."""
        process = self.begin(**changes)
        wait_for(lambda: process.ready or not process.running, WITHIN_S)
        assert process.running, process.log_tail
        return process

    def begin(self, **changes: Any) -> GatewayProcess:
        """Start one more gateway."""
        changes = {"port": free_ports(1)[0]} | changes
        settings = msgspec.structs.replace(
            self.settings, gateway=msgspec.structs.replace(self.settings.gateway, **changes)
        )
        self.gateways.append(GatewayProcess(settings, self.directory, f"gateway-{len(self.gateways)}"))
        return self.gateways[-1]

    def client(self, gateway: GatewayProcess, **options: Any) -> GatewayClient:
        """A client of a gateway that sends a request once, unless it is given patience."""
        return GatewayClient(gateway.url, self.api_key, **{"patience_s": 0.0, "timeout_s": 30.0} | options)

    def decisions(self) -> list[Decision]:
        """All decisions on the topic, in the order of their offsets within each partition."""
        topics = Topics(self.settings)
        try:
            return [msgspec.json.decode(m.value(), type=Decision) for m in topics.messages(Name.DECISIONS)]
        finally:
            topics.close()

    def stop(self) -> None:
        """End everything."""
        for process in (*self.gateways, *self.workers):
            process.kill()


def decided(client: GatewayClient, paid: Transaction) -> Answer:
    """Ask until the answer is the final decision, as a payer does whose first deadline has passed."""
    answers: list[Answer] = []

    def asked() -> bool:
        try:
            answers.append(client.decide(paid, deadline_ms=PATIENT_MS))
        except ProblemError as refused:
            if refused.problem.status == 503:  # the worker is not there yet
                return False
            raise
        return not answers[-1].provisional

    wait_for(asked, WITHIN_S)
    return answers[-1]


def status_of(client: GatewayClient, transaction_id: str) -> int:
    """Return the status of a look-up."""
    try:
        client.look_up(transaction_id)
    except ProblemError as refused:
        return refused.problem.status
    return 200


def new_bank(settings: Settings, directory: Path) -> Bank:
    """A bank on a broker, without processes yet."""
    for name in ("card-key", "letter-key"):
        (directory / name).write_text(name.ljust(40, "."), encoding="ascii")
    key, letters = (Secret(file=str(directory / name)) for name in ("card-key", "letter-key"))
    cards = CardSettings(numbers="tokenise", key=key, dead_letter_key=letters)
    settings = msgspec.structs.replace(gateway_settings(settings, directory), cards=cards)
    apply(settings)
    api_key = create(settings, "card switch", "payments", [], days=1).api_key
    return Bank(settings, directory, api_key)


@pytest.fixture
def bank(embedded_stack: StackState, settings_for: SettingsFor, topic_prefix: str, tmp_path: Path) -> Iterator[Bank]:
    """A bank of this test's own on the shared embedded stack, without processes yet."""
    made = new_bank(settings_for(embedded_stack, topic_prefix), tmp_path)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def open_bank(
    embedded_stack: StackState, settings_for: SettingsFor, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bank]:
    """A bank with a worker and a gateway, for the tests of a file that disturb neither."""
    directory = tmp_path_factory.mktemp("bank")
    made = new_bank(settings_for(embedded_stack, f"{directory.name}-{id(directory)}-"), directory)
    try:
        made.worker()
        made.gateway()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def previews(open_bank: Bank) -> Bank:
    """The open bank of this file, with a preview service."""
    service = GatewayProcess(open_bank.settings, open_bank.directory, "preview", service="preview")
    open_bank.gateways.append(service)
    wait_for(lambda: service.ready or not service.running, WITHIN_S)
    assert service.running, service.log_tail
    return open_bank
