"""`vedette mfa run` as it runs: decisions in; challenges, final decisions, labels and alerts out; through SIGKILL."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from access.keyring import Keyring
from adapters.kafka_client import client_config
from adapters.redis import connect
from challenges.bootstrap import rules_of
from challenges.challenges import Challenges
from challenges.store import ChallengeStore
from stack.process import free_ports
from stack.sms import Sms, SmsSink
from tests.challenges.conftest import Notes
from tests.conftest import wait_for
from vedette.challenge_ids import challenge_id_of
from vedette.clock import SystemClock
from vedette.events import Action, Alert, Challenge, Decision, Label
from vedette.settings import MfaSettings, Settings
from vedette.topics import Name

COMMAND = (sys.executable, "-c", "from cli.main import main; main()", "mfa")
KINDS: dict[Name, Any] = {
    Name.CHALLENGES: Challenge, Name.DECISIONS: Decision, Name.LABELS: Label, Name.ALERTS: Alert,
}  # fmt: skip


def decision(number: int) -> Decision:
    """The worker's decision to challenge a payment."""
    return Decision(
        transaction_id=f"t-{number}", account_id=f"a-{number}", event_time=1_535_547_600_000, amount=5_000 + number,
        currency="EUR", action="challenge", score=0.5, expected_loss=2_500, reasons=["new device"], rules=[],
        model="m", policy="p", features_hash="f", payee="Shop & Co", device_id="d-1",
    )  # fmt: skip


@dataclass
class Bank:
    """A broker, an SMS server, and the command with its settings."""

    settings: Settings
    environment: dict[str, str]
    log: Path
    url: str

    def start(self) -> "subprocess.Popen[bytes]":
        """Run the service until it answers."""
        with self.log.open("ab") as errors:
            process = subprocess.Popen([*COMMAND, "run"], env=self.environment, stderr=errors, stdout=errors)
        wait_for(lambda: self._answers() or process.poll() is not None, 60)
        assert process.poll() is None, self.log.read_text()
        return process

    def _answers(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/healthz").status_code == 200
        except httpx2.TransportError:
            return False

    def decide(self, numbers: range, *, action: Action = "challenge", degraded: bool = False) -> None:
        """Publish decisions."""
        producer = Producer(client_config(self.settings.kafka))
        topic = self.settings.topics.prefix + Name.DECISIONS
        for number in numbers:
            said = msgspec.structs.replace(decision(number), action=action, degraded=degraded)
            producer.produce(topic, msgspec.json.encode(said), f"a-{number}")
        assert producer.flush(30) == 0

    def said(self, name: Name) -> list[Any]:
        """Return everything on a topic."""
        consumer = Consumer(client_config(self.settings.kafka) | {"group.id": "look", "enable.auto.commit": False})
        found = []
        for partition in range(self.settings.topics.partitions):
            place = TopicPartition(self.settings.topics.prefix + name, partition, 0)
            _, high = consumer.get_watermark_offsets(place, timeout=10)
            consumer.assign([place])
            while high and consumer.position([place])[0].offset < high:
                found += [message.value() for message in consumer.consume(100, 0.2) if not message.error()]
        consumer.close()
        return [msgspec.json.decode(value, type=KINDS[name]) for value in found]

    def ask_again(self, number: int) -> None:
        """Do what the bank's own app does for a customer who needs another SMS."""
        client = connect(self.settings.redis)
        challenges = Challenges(
            ChallengeStore(client, self.settings.redis.prefix),
            Keyring(self.environment["VEDETTE_MFA__KEYS"]),
            rules_of(MfaSettings()),
            SystemClock(),
            os.urandom,
            Notes(),
        )
        challenges.ask(challenge_id_of(f"a-{number}", f"t-{number}"), "sms")
        client.close()

    def finals(self) -> list[Decision]:
        """Return the final decisions."""
        return [each for each in self.said(Name.DECISIONS) if each.final is True]


class Customers:
    """Answer each SMS through the real page, as their last digit says: even ones approve, odd ones deny.

    They are patient while the service is down, and note who has lost a link by it: opened, but no page seen.
    """

    def __init__(self) -> None:
        self.lost: list[int] = []

    def __call__(self, message: Sms) -> None:
        """Answer in a thread, since this is called while the service still waits for the SMS server."""
        threading.Thread(target=self._answer, args=(message,), daemon=True).start()

    def _answer(self, message: Sms) -> None:
        url = re.findall(r"http\S+", message.body)[0]
        code = re.findall(r"\d{4} \d{4}", message.body)[0]
        with httpx2.Client(base_url=url.partition("/c/")[0], follow_redirects=True) as browser:
            page = patient(lambda: browser.post(url))
            fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.text))
            if page.status_code == 404:
                self.lost.append(int(message.to[-2:]))
            elif "csrf" not in fields:
                return  # settled by an answer before
            elif int(message.to[-1]) % 2:
                patient(lambda: browser.post("/challenge/deny", data={"csrf": fields["csrf"]}))
            else:
                patient(lambda: browser.post("/challenge/answer", data=fields | {"value": code}))


def patient(ask: Callable[[], httpx2.Response]) -> httpx2.Response:
    """Return an answer, retrying while the service is down."""
    answers: list[httpx2.Response] = []

    def answered() -> bool:
        try:
            answers.append(ask())
        except httpx2.TransportError:
            return False
        return True

    wait_for(answered, 60)
    return answers[0]


@pytest.fixture
def customers() -> Customers:
    """Twenty people with phones."""
    return Customers()


@pytest.fixture
def sms(customers: Customers) -> Iterator[SmsSink]:
    """The server that receives SMS; customers answer them."""
    with SmsSink(on_sms=customers) as sink:
        yield sink


@pytest.fixture
def bank(settings: Settings, topic_prefix: str, sms: SmsSink, tmp_path: Path) -> Bank:
    """The command's settings, and twenty customers whose phones the bank has verified."""
    (port,) = free_ports(1)
    key = subprocess.run([*COMMAND, "keygen"], capture_output=True, check=True, text=True).stdout.strip()
    environment = os.environ | {
        "VEDETTE_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "VEDETTE_TOPICS__PREFIX": topic_prefix,
        "VEDETTE_REDIS__URL": settings.redis.url,
        "VEDETTE_REDIS__PREFIX": topic_prefix,
        "VEDETTE_AUDIT__PATH": str(tmp_path / "audit.jsonl"),
        "VEDETTE_AUDIT__KEY": "k" * 40,
        "VEDETTE_DATABASE__URL": f"sqlite:///{tmp_path}/alerts.sqlite",
        "VEDETTE_TWILIO__ACCOUNT_SID": sms.account_sid,
        "VEDETTE_TWILIO__AUTH_TOKEN": sms.auth_token,
        "VEDETTE_TWILIO__BASE_URL": sms.url,
        "VEDETTE_MFA__GROUP": f"{topic_prefix}mfa",
        "VEDETTE_MFA__PORT": str(port),
        "VEDETTE_MFA__PUBLIC_URL": f"http://localhost:{port}",
        "VEDETTE_MFA__KEYS": key,
        "VEDETTE_MFA__SMS_FROM": "+14155550100",
        "VEDETTE_MFA__SMS_PREFIXES": "+34",
    }
    contacts = tmp_path / "contacts.csv"
    rows = [f"a-{number},+346000000{number:02}\n" for number in range(20)]
    contacts.write_text("account_id,phone\n" + "".join(rows), encoding="utf-8")
    imported = subprocess.run([*COMMAND, "import", str(contacts)], env=environment, capture_output=True, check=True)
    assert imported.stdout == b"20 accounts\n"
    return Bank(settings, environment, tmp_path / "log", f"http://localhost:{port}")


@pytest.mark.runs("mfa run", "audit verify")
def test_from_decision_to_final_decision_through_kill_9(bank: Bank, sms: SmsSink, customers: Customers) -> None:
    """Each of twenty challenges, sent by SMS and answered on the page, has one outcome, which matches the answer.

    What was decided without history, and so will be decided again, asks nobody. Neither does a second decision on a
    payment that was decided otherwise before, whether the service has read that or reads it when it starts again.

    The service is killed in the middle and started again: no challenge is lost, none has two different outcomes, a
    denied one is labelled as fraud and raises an alert, and nothing secret is in the log.
    """
    process = bank.start()
    bank.decide(range(30, 34), action="approve")
    bank.decide(range(30, 32))
    bank.decide(range(12))
    wait_for(lambda: len(bank.finals()) >= 3, 60)
    process.kill()
    process.wait(30)
    bank.decide(range(20, 24), degraded=True)
    bank.decide(range(32, 34))
    bank.decide(range(20))
    process = bank.start()

    def all_settled() -> bool:
        while customers.lost:
            bank.ask_again(customers.lost.pop())
        return len({each.transaction_id for each in bank.finals()}) == 20

    wait_for(all_settled, 120)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    outcomes: dict[str, set[Challenge]] = {}
    for each in bank.said(Name.CHALLENGES):
        if each.status != "issued":
            outcomes.setdefault(each.transaction_id, set()).add(each)
    assert {len(each) for each in outcomes.values()} == {1}
    assert {each.transaction_id for each in bank.said(Name.CHALLENGES)} == {f"t-{number}" for number in range(20)}
    finals = {each.transaction_id: each for each in bank.finals()}
    assert len(finals) == 20
    denied = set()
    for number in range(20):
        (outcome,) = outcomes[f"t-{number}"]
        final = finals[f"t-{number}"]
        assert outcome.status == ("denied" if number % 2 else "approved")
        assert final.action == ("decline" if number % 2 else "approve")
        assert (final.follows, final.amount) == (outcome.challenge_id, 5_000 + number)
        denied |= {outcome.transaction_id} if number % 2 else set()
    labels = bank.said(Name.LABELS)
    assert {each.transaction_id for each in labels} == denied
    assert {(each.fraud, each.source, each.device_id) for each in labels} == {(True, "challenge", "d-1")}
    assert {each.transaction_id for each in bank.said(Name.ALERTS)} == denied
    log = bank.log.read_text()
    for message in sms.messages:
        assert re.findall(r"/c/\S+", message.body)[0] not in log
        assert message.to not in log
    verified = subprocess.run(
        [*COMMAND[:-1], "audit", "verify"], env=bank.environment, capture_output=True, check=False
    )
    assert verified.returncode == 0, verified.stderr
