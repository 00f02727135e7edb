"""`vedette notify` as it runs: a broker, a mail server and an SMS server, and the process itself."""

import asyncio
import json
import os
import re
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
from confluent_kafka import Consumer, TopicPartition

from access.audit import show
from adapters.database import open_database
from adapters.kafka_client import client_config
from adapters.kafka_producer import KafkaProducer
from alerts.incidents import store
from alerts.incidents.incident import OPEN
from alerts.notify import MessageCount, NotifierReport, listing, status
from alerts.notify.bootstrap import notifier
from alerts.notify.events import EventPublisher
from alerts.notify.retry_policy import RetryPolicy
from stack.mail import MailSink
from stack.process import free_ports, port_is_free
from stack.sms import INVALID_TO, SmsSink
from vedette.clock import SystemClock
from vedette.errors import SettingsError, UnavailableError
from vedette.events import Alert, Label
from vedette.settings import (
    AuditSettings,
    DatabaseSettings,
    IncidentSettings,
    KafkaSettings,
    NotifySettings,
    Settings,
    SmtpSettings,
    TwilioSettings,
)
from vedette.settings_base import Secret

COMMAND = (sys.executable, "-c", "from cli.main import main; main()", "notify")
ADDRESS, NUMBER, TOKEN = "fraud.desk@bank.example", "+14155550101", "a-token-nobody-may-see"
FULL_DISK = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit then fails, as on a full disk
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
from cli.main import main
main()
"""
ROUTING = f"""\
format: 1
recipients:
  desk: {{channel: email, to: {ADDRESS}}}
  phone: {{channel: sms, to: "{NUMBER}"}}
routes:
  - notify: [desk, phone]
"""


@pytest.fixture
def mail() -> Iterator[MailSink]:
    """The server that receives e-mail."""
    with MailSink() as sink:
        yield sink


@pytest.fixture
def sms() -> Iterator[SmsSink]:
    """The server that receives SMS."""
    with SmsSink(auth_token=TOKEN) as sink:
        yield sink


@pytest.fixture
def settings(settings: Settings, mail: MailSink, sms: SmsSink, tmp_path: Path) -> Settings:
    """Settings whose topics exist and whose messages go to the two servers."""
    (tmp_path / "routing.yaml").write_text(ROUTING)
    return msgspec.structs.replace(
        settings,
        database=DatabaseSettings(url=f"sqlite:///{tmp_path / 'alerts.sqlite'}"),
        smtp=SmtpSettings(host=mail.host, port=mail.port, starttls=False),
        twilio=TwilioSettings(account_sid=sms.account_sid, auth_token=Secret(TOKEN), base_url=sms.url),
        incidents=IncidentSettings(routing=str(tmp_path / "routing.yaml")),
        notify=NotifySettings(group=settings.notify.group, sms_from="+14155550100"),
    )


def publish(settings: Settings, values: list[tuple[str, bytes]]) -> None:
    """Put values on the alerts topic, each under its key."""
    producer = KafkaProducer(settings.kafka)
    for key, value in values:
        producer.send(settings.topics.prefix + "alerts", value, key)
    producer.flush()


def encoded(alerts: list[Alert]) -> list[tuple[str, bytes]]:
    """Encode alerts as they are on the topic."""
    return [(alert.account_id, msgspec.json.encode(alert)) for alert in alerts]


def run_once(settings: Settings, log: Any, policy: RetryPolicy | None = None) -> NotifierReport:
    """Run until a second has passed without an alert."""

    async def go() -> NotifierReport:
        with notifier(settings, clock=SystemClock(), random=SystemRandom(), log=log, policy=policy) as wired:
            return await wired.run(asyncio.Event(), until_idle_s=1.0)

    return asyncio.run(go())


def read_labels(settings: Settings) -> list[tuple[bytes, Label]]:
    """Return all messages of the labels topic, in order."""
    topic = settings.topics.prefix + "labels"
    consumer = Consumer(client_config(settings.kafka) | {"group.id": "test"})
    places = [TopicPartition(topic, partition, 0) for partition in range(settings.topics.partitions)]
    consumer.assign(places)
    ends = [consumer.get_watermark_offsets(place, timeout=10) for place in places]
    found: list[tuple[bytes, Label]] = []
    while len(found) < sum(high - low for low, high in ends):
        for record in consumer.consume(100, 10):
            assert record.error() is None
            found.append((record.key(), msgspec.json.decode(record.value(), type=Label)))
    consumer.close()
    return found


def environment(settings: Settings) -> dict[str, str]:
    """The settings as environment variables for a process."""
    variables = {
        f"VEDETTE_{section.upper()}__{key.upper()}": value if isinstance(value, str) else json.dumps(value)
        for section in ("kafka", "database", "smtp", "twilio", "topics", "incidents", "notify")
        for key in getattr(settings, section).__struct_fields__
        if (value := getattr(getattr(settings, section), key)) not in (None, {}) and not isinstance(value, Secret)
    }
    return {**os.environ, **variables, "VEDETTE_TWILIO__AUTH_TOKEN": TOKEN}


def until(condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.01)


def test_every_alert_is_told_once_and_a_repeated_one_not_again(
    settings: Settings, mail: MailSink, sms: SmsSink, alert: Callable[..., Alert], log: Any
) -> None:
    """Five alerts of five accounts, each published twice and read by two runs, give five e-mails and five SMS."""
    alerts = [alert(number, account_id=f"account-{number}") for number in range(5)]
    publish(settings, encoded(alerts) + encoded(alerts))
    first = run_once(settings, log)
    assert first == NotifierReport(recorded=10, rejected=0, sent=10, failed=0, unknown=0, unfinished=0)
    publish(settings, encoded(alerts))
    second = run_once(settings, log)
    assert second == NotifierReport(recorded=0, rejected=0, sent=0, failed=0, unknown=0, unfinished=0)
    assert len({received.message_id for received in mail.mails}) == len(mail.mails) == 5
    assert len({received.body for received in sms.messages}) == len(sms.messages) == 5


def test_what_is_no_alert_is_counted_logged_and_skipped(
    settings: Settings, mail: MailSink, alert: Callable[..., Alert], log: Any, lines: list[dict[str, Any]]
) -> None:
    """Poison before and after an alert costs one log line each and a row in the database, and loses no alert."""
    good = encoded([alert()])
    publish(settings, [(good[0][0], b"{junk"), *good, (good[0][0], b'{"alert_id": "x"}')])
    report = run_once(settings, log)
    assert (report.recorded, report.rejected, report.sent) == (2, 2, 2)
    assert len(mail.mails) == 1
    rejected = [line for line in lines if line["event"] == "alert rejected"]
    assert sorted(line["offset"] for line in rejected) == [0, 2]
    assert all(line["reason"] for line in rejected)
    assert MessageCount("rejects", "rejected", 2) in status(settings).messages


def test_closing_an_incident_labels_its_payments_on_kafka(
    settings: Settings, alert: Callable[..., Alert], log: Any, tmp_path: Path
) -> None:
    """A confirmation on the command line is in the audit log, and on the topic once, with the account as key."""
    publish(settings, encoded([alert(1), alert(2)]))
    run_once(settings, log)
    recorded = AuditSettings(path=str(tmp_path / "audit.jsonl"), key=Secret("k" * 32))
    environ = environment(settings) | {"VEDETTE_AUDIT__PATH": recorded.path}
    command = [*COMMAND[:-1], "incidents"]
    listed = subprocess.run([*command, "list", "--json"], env=environ, capture_output=True, check=True)
    (incident,) = json.loads(listed.stdout.splitlines()[-1])["incidents"]
    assert (incident["alerts"], incident["account_id"]) == (2, alert().account_id)
    confirm = [*command, "confirm", str(incident["id"]), "--who", "ana", "--note", "customer says no", "--json"]
    unrecorded = subprocess.run(confirm, env=environ, capture_output=True, check=False)
    assert unrecorded.returncode == 2
    assert b"[audit] key is not set" in unrecorded.stderr
    environ["VEDETTE_AUDIT__KEY"] = "k" * 32
    done = subprocess.run(confirm, env=environ, capture_output=True, check=True)
    assert json.loads(done.stdout)["state"] == "confirmed"
    again = subprocess.run(confirm, env=environ, capture_output=True, check=False)
    assert again.returncode == 2
    assert b"is confirmed fraud and cannot become confirmed fraud" in again.stderr
    (step,) = show(recorded)
    assert (step.event, step.actor, step.subject) == ("incident.confirmed", "ana", f"incident:{incident['id']}")
    assert step.details == {"account": alert().account_id, "way": "command", "note": "customer says no"}
    assert run_once(settings, log).unfinished == 0
    assert run_once(settings, log).unfinished == 0
    labels = read_labels(settings)
    assert [key for key, _ in labels] == [alert().account_id.encode()] * 2
    assert sorted(label.transaction_id for _, label in labels) == ["transaction-1", "transaction-2"]
    assert {(label.fraud, label.source) for _, label in labels} == {(True, "analyst")}


def test_a_label_waits_for_a_broker_that_is_away(
    settings: Settings, alert: Callable[..., Alert], log: Any, dial: Any
) -> None:
    """Without the broker's acknowledgement the label stays in the database; afterwards it is deleted."""
    publish(settings, encoded([alert(1)]))
    run_once(settings, log)
    engine = open_database(settings.database)
    with engine.begin() as connection:
        (incident,) = store.find(connection, OPEN)
        store.close(connection, incident.id, fraud=False, who="ana", note="", now=dial.now)
    nowhere = msgspec.structs.replace(settings, kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1"))
    away = EventPublisher(nowhere, engine, 0.5, SystemClock(), log)
    assert away.step() == 0
    away.close()
    assert read_labels(settings) == []
    back = EventPublisher(settings, engine, 10.0, SystemClock(), log)
    assert (back.step(), back.step()) == (2, 0)  # the label, and that the incident is closed
    back.close()
    engine.dispose()
    ((_, label),) = read_labels(settings)
    assert (label.transaction_id, label.fraud) == ("transaction-1", False)


def test_a_missing_topic_or_broker_is_said_at_once(settings: Settings, log: Any) -> None:
    """A missing topic or broker is named with the remedy."""
    nowhere = msgspec.structs.replace(settings.topics, prefix="nowhere-")
    with pytest.raises(UnavailableError, match=r"nowhere-alerts.*topics apply"):
        run_once(msgspec.structs.replace(settings, topics=nowhere), log)
    kafka = msgspec.structs.replace(settings.kafka, bootstrap_servers="127.0.0.1:1", timeout_s=0.5)
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1"):
        run_once(msgspec.structs.replace(settings, kafka=kafka), log)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"notify": {"sms_from": ""}}, r"\[notify\] sms_from"),
        ({"twilio": {"account_sid": ""}}, r"\[twilio\] account_sid"),
        ({"twilio": {"auth_token": None}}, r"\[twilio\] auth_token"),
        ({"twilio": {"base_url": "http://relay.example"}}, "in the clear"),
        ({"twilio": {"base_url": "http://127.0.0.1@relay.example"}}, "in the clear"),
        ({"twilio": {"base_url": "relay"}}, "in the clear"),
        ({"smtp": {"username": "u", "host": "mail.example"}}, "in the clear"),
        ({"notify": {"public_url": "https://answers.example"}}, "link_key"),
        ({"notify": {"link_key": Secret("short")}}, "fewer than 32"),
    ],
)
def test_settings_that_cannot_send_safely_are_refused(
    settings: Settings, log: Any, changes: dict[str, dict[str, Any]], named: str
) -> None:
    """Nothing starts that could not send, or would send a secret in plain text; the error says what is wrong."""
    with pytest.raises(SettingsError, match=named):
        run_once(
            msgspec.structs.replace(
                settings,
                **{
                    section: msgspec.structs.replace(getattr(settings, section), **keys)
                    for section, keys in changes.items()
                },
            ),
            log,
        )


@pytest.mark.runs("notify")
def test_a_terminated_process_leaves_in_good_order(
    settings: Settings, mail: MailSink, alert: Callable[..., Alert], tmp_path: Path
) -> None:
    """SIGTERM ends the command with exit code 0 and its summary, and leaves no outcome unknown."""
    publish(settings, encoded([alert(number, account_id=f"account-{number}") for number in range(3)]))
    with (tmp_path / "err").open("wb") as errors:
        process = subprocess.Popen(COMMAND, env=environment(settings), stdout=subprocess.PIPE, stderr=errors)
        until(lambda: len(mail.mails) >= 1, "the first e-mail")
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert out.decode().startswith("notify: ")
    assert len(out.decode().splitlines()) == 1
    assert {count.status for count in status(settings).messages} <= {"pending", "sent"}


@pytest.mark.slow
def test_a_killed_process_loses_nothing_and_sends_nothing_twice_knowingly(
    settings: Settings, mail: MailSink, sms: SmsSink, alert: Callable[..., Alert], tmp_path: Path
) -> None:
    """Killed repeatedly during 400 alerts: every alert is notified on both channels.

    An SMS is never there twice, because what was in doubt is looked up; of the e-mails at most those in flight at
    the kills have a second copy, and it bears the same Message-ID.
    """
    alerts = [alert(number, account_id=f"account-{number}") for number in range(400)]
    publish(settings, encoded(alerts))
    log = tmp_path / "log"
    kills = 3
    with log.open("wb") as errors:
        for number in range(1, kills + 1):
            process = subprocess.Popen(COMMAND, env=environment(settings), stderr=errors, stdout=errors)
            until(lambda n=number: len(sms.messages) >= 60 * n, "some more messages")  # type: ignore[misc]
            process.kill()
            process.wait(30)
        assert len(sms.messages) < 400
        done = subprocess.run(
            [*COMMAND, "--until-idle", "1"], env=environment(settings), stderr=errors, stdout=subprocess.PIPE,
            timeout=120, check=True,
        )  # fmt: skip
    assert b"0 in doubt, 0 still to send, 0 rejected" in done.stdout
    assert len({received.body[-10:] for received in sms.messages}) == len(sms.messages) == 400
    copies = Counter(received.message_id for received in mail.mails)
    assert len(copies) == 400
    assert sum(copies.values()) <= 400 + kills * settings.notify.parallel
    assert status(settings).messages == [MessageCount("email", "sent", 400), MessageCount("sms", "sent", 400)]
    said = log.read_text()
    for private in (ADDRESS, NUMBER, TOKEN, "account-3"):
        assert private not in said


def test_a_full_disk_loses_nothing(settings: Settings, sms: SmsSink, alert: Callable[..., Alert]) -> None:
    """When the database cannot grow, the process ends with one sentence; once there is space, all are notified once."""
    alerts = [alert(number, account_id=f"account-{number}") for number in range(600)]
    publish(settings, encoded(alerts))
    limited = [
        *(sys.executable, "-c"),
        FULL_DISK,
        *("notify", "--until-idle", "2"),
    ]
    ended = subprocess.run(limited, env=environment(settings), capture_output=True, timeout=60, check=False)
    assert ended.returncode == 2
    sentence = ended.stderr.decode().splitlines()[-1]
    assert sentence.startswith("vedette: database sqlite:///")
    assert "recorded data is kept" in sentence
    assert len(sms.messages) < 600
    done = subprocess.run(
        [*COMMAND, "--until-idle", "1"], env=environment(settings), capture_output=True, timeout=120, check=True
    )
    assert b"0 in doubt, 0 still to send, 0 rejected" in done.stdout
    assert len({received.body[-10:] for received in sms.messages}) == len(sms.messages) == 600


@pytest.mark.runs("notify status", "notify list", "notify retry")
def test_status_and_list_show_the_outbox(
    settings: Settings, sms: SmsSink, alert: Callable[..., Alert], log: Any
) -> None:
    """`status` counts, `list` shows dead letters with the provider's code, and `retry` sends them again."""
    sms.script(INVALID_TO)
    publish(settings, encoded([alert()]))
    run_once(settings, log)
    environ = environment(settings)
    counted = subprocess.run([*COMMAND, "status", "--json"], env=environ, capture_output=True, check=True)
    assert json.loads(counted.stdout) == {
        "messages": [
            {"channel": "email", "status": "sent", "count": 1},
            {"channel": "sms", "status": "failed", "count": 1},
        ],
        "failures": [],
    }
    listed = subprocess.run([*COMMAND, "list", "--json"], env=environ, capture_output=True, check=True)
    (dead,) = json.loads(listed.stdout)["messages"]
    assert (dead["recipient"], dead["code"], dead["due_at"]) == ("phone", "21211", None)
    revived = subprocess.run(
        [*COMMAND, "retry", str(dead["id"]), "--json"], env=environ, capture_output=True, check=True
    )
    assert json.loads(revived.stdout) == {"retried": 1}
    assert run_once(settings, log).sent == 1
    assert len(sms.messages) == 1


@pytest.mark.runs("notify web")
def test_replies_and_receipts_find_their_way_back(
    settings: Settings, sms: SmsSink, alert: Callable[..., Alert], log: Any, tmp_path: Path
) -> None:
    """Through the real web server, receipts and a reply, each posted twice, count once and label the payment."""
    (port,) = free_ports(1)
    key = "k" * 32
    notify = msgspec.structs.replace(
        settings.notify, public_url=f"http://127.0.0.1:{port}", web_port=port, link_key=Secret(key)
    )
    settings = msgspec.structs.replace(settings, notify=notify)
    publish(settings, encoded([alert()]))
    run_once(settings, log)
    (message,) = sms.messages
    environ = environment(settings) | {
        "VEDETTE_NOTIFY__LINK_KEY": key,
        "VEDETTE_AUDIT__PATH": str(tmp_path / "audit.jsonl"),
        "VEDETTE_AUDIT__KEY": key,
    }
    with (tmp_path / "web.log").open("wb") as output:
        web = subprocess.Popen([*COMMAND, "web"], env=environ, stdout=output, stderr=output)
    try:
        until(lambda: not port_is_free(port), "the web server")
        assert sms.report(message, "delivered", times=2) == [204, 204]
        number = re.findall(r"#([0-9]+)", message.body)[0]
        assert sms.reply(f"{notify.public_url}/twilio/reply", NUMBER, f"{number} fraud", times=2) == [200, 200]
        sms.auth_token = "another"
        assert sms.reply(f"{notify.public_url}/twilio/reply", NUMBER, f"{number} ok") == [403]
    finally:
        web.send_signal(signal.SIGTERM)
        web.wait(30)
        sms.auth_token = TOKEN
    (told,) = [row for row in listing(settings, ["sent"], 5).messages if row.channel == "sms"]
    assert told.receipt == "delivered"
    run_once(settings, log)
    ((_, label),) = read_labels(settings)
    assert label.fraud
    assert key not in (tmp_path / "web.log").read_text()
