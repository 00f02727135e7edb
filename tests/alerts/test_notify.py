"""`vedette notify` as it runs: a broker, a mail server and an SMS server, and the process itself."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import SystemRandom
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer

from alerts.notify import Report
from alerts.notify.bootstrap import notifier
from alerts.notify.ledger import Tally, read_tally
from alerts.notify.message import reference_of
from alerts.notify.sender import RetryPolicy
from stack.local import LocalStack
from stack.mail import MailSink
from stack.sms import SmsSink
from stack.topics import apply
from vedette.clock import SystemClock
from vedette.errors import UnavailableError
from vedette.events import Alert
from vedette.settings import NotifySettings, Secret, Settings

COMMAND = (sys.executable, "-c", "from cli.main import main; main()", "notify")
ADDRESS, NUMBER, TOKEN = "fraud.desk@bank.example", "+14155550101", "a-token-nobody-may-see"


@pytest.fixture
def mail() -> Iterator[MailSink]:
    """Where e-mail goes."""
    with MailSink() as sink:
        yield sink


@pytest.fixture
def sms() -> Iterator[SmsSink]:
    """Where SMS go."""
    with SmsSink(auth_token=TOKEN) as sink:
        yield sink


@pytest.fixture
def settings(
    embedded_stack: LocalStack,
    settings_for: Callable[[LocalStack, str], Settings],
    topic_prefix: str,
    mail: MailSink,
    sms: SmsSink,
    tmp_path: Path,
) -> Settings:
    """Settings whose topics exist and whose messages go to the two servers."""
    made = settings_for(embedded_stack, topic_prefix)
    apply(made)
    notify = NotifySettings(
        group=made.notify.group,
        ledger=str(tmp_path / "ledger.sqlite"),
        email_to=[ADDRESS],
        smtp_host=mail.host,
        smtp_port=mail.port,
        smtp_starttls=False,
        sms_to=[NUMBER],
        sms_from="+14155550100",
        twilio_account_sid=sms.account_sid,
        twilio_auth_token=Secret(TOKEN),
        twilio_base_url=sms.url,
    )
    return msgspec.structs.replace(made, notify=notify)


def publish(settings: Settings, values: list[tuple[str, bytes]]) -> None:
    """Put values on the alerts topic, each under its key."""
    producer = Producer(settings.kafka.client_config() | {"partitioner": "murmur2_random", "acks": "all"})
    for key, value in values:
        producer.produce(settings.topics.prefix + "alerts", value, key)
    assert producer.flush(30) == 0


def encoded(alerts: list[Alert]) -> list[tuple[str, bytes]]:
    """Alerts as they stand on the topic."""
    return [(alert.account_id, msgspec.json.encode(alert)) for alert in alerts]


def run_once(settings: Settings, log: Any, policy: RetryPolicy | None = None) -> Report:
    """Run until a second has passed without an alert."""

    async def go() -> Report:
        with notifier(settings, clock=SystemClock(), random=SystemRandom(), log=log, policy=policy) as wired:
            return await wired.run(asyncio.Event(), until_idle_s=1.0)

    return asyncio.run(go())


def environment(settings: Settings) -> dict[str, str]:
    """The settings as environment variables for a process."""
    chosen = {"KAFKA": {"bootstrap_servers": settings.kafka.bootstrap_servers}}
    chosen["TOPICS"] = {"prefix": settings.topics.prefix}
    chosen["NOTIFY"] = {
        key: value if isinstance(value, str) else ",".join(value) if isinstance(value, list) else json.dumps(value)
        for key in settings.notify.__struct_fields__
        if (value := getattr(settings.notify, key)) is not None and not isinstance(value, Secret)
    }
    variables = {
        f"VEDETTE_{section}__{key.upper()}": text for section, keys in chosen.items() for key, text in keys.items()
    }
    return {**os.environ, **variables, "VEDETTE_NOTIFY__TWILIO_AUTH_TOKEN": TOKEN}


def until(condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.01)


def test_every_alert_is_told_once_and_a_repeated_one_not_again(
    settings: Settings, mail: MailSink, sms: SmsSink, alert: Callable[..., Alert], log: Any
) -> None:
    """Five alerts, each published twice and read by two runs, are five e-mails and five SMS."""
    alerts = [alert(number) for number in range(5)]
    publish(settings, encoded(alerts) + encoded(alerts))
    first = run_once(settings, log)
    assert first == Report(recorded=10, rejected=0, sent=10, failed=0, unknown=0, unfinished=0)
    publish(settings, encoded(alerts))
    second = run_once(settings, log)
    assert second == Report(recorded=0, rejected=0, sent=0, failed=0, unknown=0, unfinished=0)
    assert len({received.message_id for received in mail.mails}) == len(mail.mails) == 5
    assert len({received.body for received in sms.messages}) == len(sms.messages) == 5


def test_what_is_no_alert_is_counted_logged_and_skipped(
    settings: Settings,
    mail: MailSink,
    alert: Callable[..., Alert],
    log: Any,
    lines: list[dict[str, Any]],
) -> None:
    """Poison before and after an alert costs one log line each, a row in the ledger, and no alert."""
    good = encoded([alert()])
    publish(settings, [(good[0][0], b"{junk"), *good, (good[0][0], b'{"alert_id": "x"}')])
    report = run_once(settings, log)
    assert (report.recorded, report.rejected, report.sent) == (2, 2, 2)
    assert len(mail.mails) == 1
    rejected = [line for line in lines if line["event"] == "alert rejected"]
    assert sorted(line["offset"] for line in rejected) == [0, 2]
    assert all(line["reason"] for line in rejected)
    assert Tally("rejects", "rejected", 2) in read_tally(Path(settings.notify.ledger))


def test_a_missing_topic_or_broker_is_said_at_once(settings: Settings, log: Any) -> None:
    """What is not there is named together with the remedy."""
    nowhere = msgspec.structs.replace(settings.topics, prefix="nowhere-")
    with pytest.raises(UnavailableError, match=r"nowhere-alerts.*topics apply"):
        run_once(msgspec.structs.replace(settings, topics=nowhere), log)
    kafka = msgspec.structs.replace(settings.kafka, bootstrap_servers="127.0.0.1:1")
    notify = msgspec.structs.replace(settings.notify, timeout_s=0.5)
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1"):
        run_once(msgspec.structs.replace(settings, kafka=kafka, notify=notify), log)


def test_a_terminated_process_leaves_in_good_order(
    settings: Settings, mail: MailSink, alert: Callable[..., Alert], tmp_path: Path
) -> None:
    """SIGTERM ends the command with exit code 0 and its summary, and nothing of it in doubt."""
    publish(settings, encoded([alert(number) for number in range(3)]))
    with (tmp_path / "err").open("wb") as errors:
        process = subprocess.Popen(COMMAND, env=environment(settings), stdout=subprocess.PIPE, stderr=errors)
        until(lambda: len(mail.mails) >= 1, "the first e-mail")
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert out.decode().startswith("notify: ")
    assert len(out.decode().splitlines()) == 1
    assert {tally.status for tally in read_tally(Path(settings.notify.ledger))} <= {"pending", "sent"}


@pytest.mark.slow
def test_a_killed_process_loses_nothing_and_sends_nothing_twice_knowingly(
    settings: Settings, mail: MailSink, sms: SmsSink, alert: Callable[..., Alert], tmp_path: Path
) -> None:
    """Killed in the middle of 200 alerts and started again: every alert is told on both channels.

    An SMS is never there twice, because what was in doubt is looked up; of the e-mails at most the one in flight has
    a second copy, and it bears the same Message-ID.
    """
    alerts = [alert(number, account_id=f"account-{number % 17}") for number in range(200)]
    publish(settings, encoded(alerts))
    log = tmp_path / "log"
    with log.open("wb") as errors:
        first = subprocess.Popen(COMMAND, env=environment(settings), stderr=errors, stdout=errors)
        until(lambda: len(mail.mails) >= 30 and len(sms.messages) >= 30, "30 messages on each channel")
        first.kill()
        first.wait(30)
        assert len(mail.mails) < 200
        done = subprocess.run(
            [*COMMAND, "--until-idle", "1"], env=environment(settings), stderr=errors, stdout=subprocess.PIPE,
            timeout=120, check=True,
        )  # fmt: skip
    assert b"0 in doubt, 0 still to send, 0 rejected" in done.stdout
    references = {reference_of(each.alert_id) for each in alerts}
    assert {received.body[-10:] for received in sms.messages} == references
    assert len(sms.messages) == 200
    copies = Counter(received.message_id for received in mail.mails)
    assert len(copies) == 200
    assert sum(copies.values()) <= 201
    assert read_tally(Path(settings.notify.ledger)) == [Tally("email", "sent", 200), Tally("sms", "sent", 200)]
    said = log.read_text()
    for private in (ADDRESS, NUMBER, TOKEN, "account-3"):
        assert private not in said


def test_status_counts_the_ledger(settings: Settings, alert: Callable[..., Alert], log: Any) -> None:
    """`vedette notify status --json` is what the ledger holds; without a ledger it says so and exits 2."""
    command = [*COMMAND, "status", "--json"]
    without = subprocess.run(command, env=environment(settings), capture_output=True, check=False)
    assert (without.returncode, without.stdout) == (2, b"")
    assert b"there is no ledger" in without.stderr
    publish(settings, encoded([alert()]))
    run_once(settings, log)
    counted = subprocess.run(command, env=environment(settings), capture_output=True, check=True)
    assert json.loads(counted.stdout) == [
        {"channel": "email", "status": "sent", "count": 1},
        {"channel": "sms", "status": "sent", "count": 1},
    ]
