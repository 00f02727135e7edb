"""Alerts through the outbox while the notifier is repeatedly killed: lost, duplicated and unknown SMS, and the rate."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec
from sqlalchemy import Engine, func, select

from adapters.database import open_database
from adapters.kafka_producer import KafkaProducer
from alerts.notify import outbox
from alerts.tables import incident_alerts, messages
from bench.measurement import Measurement, Setup
from stack.local import LocalStack
from stack.sms import SmsSink
from stack.topics import apply
from vedette import Alert, Settings, VedetteError
from vedette.codes import COUNTRIES
from vedette.settings import (
    DatabaseSettings,
    IncidentSettings,
    KafkaSettings,
    NotifySettings,
    RedisSettings,
    TopicSettings,
    TwilioSettings,
)
from vedette.settings_base import Secret
from vedette.topics import Name
from vedette.wording import reason

_TEAMS = 20
"""Number of phones that share the alerts, by country: look-ups read the messages of one phone."""

_STANDSTILL_S = 120.0
_TOKEN = "bench"  # noqa: S105, for the local server
_NEW_DEVICE = reason("device-new", {"of": 41}, 0.7)
_NOW = 1_763_726_400_000


@dataclass(frozen=True)
class NotifierFigures(Measurement):
    """Results of the benchmark.

    Attributes:
        alerts: Number of alerts, each of a different account.
        kills: Number of times the notifier was killed.
        lost: Alerts without an SMS at the provider.
        doubled: SMS beyond the first of each message.
        unknown: Messages of unknown outcome, which were looked up.
        rate_per_s: Alerts per second from the first start to the last SMS, kills, restarts and look-ups included.
        steady_per_s: SMS per second while a process was sending, without the time from its start to its first SMS.
    """

    alerts: int
    kills: int
    lost: int
    doubled: int
    unknown: int
    rate_per_s: float
    steady_per_s: float


def measure(
    setup: Setup, *, alerts: int, kill_every_s: float, show: Callable[[int], None] = lambda _: None
) -> NotifierFigures:
    """Publish alerts, and let notifiers send them by SMS, each killed after some seconds.

    Args:
        setup: Setup of the benchmark.
        alerts: Number of alerts.
        kill_every_s: Lifetime of a notifier, seconds; 0 never kills one.
        show: Called with the number of SMS at the provider.
    """
    directory, say = setup.directory, setup.say
    with LocalStack(directory / "stack", setup.broker, setup.redis) as stack, _sink() as (url, account, sink):
        settings = Settings(
            kafka=KafkaSettings(bootstrap_servers=stack.bootstrap_servers),
            topics=TopicSettings(),
            redis=RedisSettings(url=stack.redis_url),
            database=DatabaseSettings(url=f"sqlite:///{directory / 'alerts.sqlite'}"),
            twilio=TwilioSettings(account_sid=account, auth_token=Secret(_TOKEN), base_url=url),
            incidents=IncidentSettings(routing=str(directory / "routing.yaml")),
            notify=NotifySettings(sms_from="+14155550100", parallel=32),
        )
        (directory / "routing.yaml").write_text(_routing(), encoding="utf-8")
        apply(settings)
        say(f"publishing {alerts:,} alerts")
        _publish(settings, alerts)
        engine = open_database(settings.database)
        try:
            say("notifying")
            return _tell(settings, engine, sink, directory, alerts, kill_every_s, show)
        finally:
            engine.dispose()


def _tell(
    settings: Settings, engine: Engine, sink: Path, directory: Path, alerts: int, kill_every_s: float,
    show: Callable[[int], None],
) -> NotifierFigures:  # fmt: skip
    kills, sending_s = 0, 0.0
    began = moved = time.monotonic()
    arrived = 0
    finished = False
    with (directory / "notify.log").open("ab") as log:
        while not finished:
            process = _start(settings, log)
            started, first = time.monotonic(), 0.0
            try:
                # Not before it has sent something: on a slow machine there would be no progress otherwise.
                while not finished and not (kill_every_s and first and time.monotonic() - started >= kill_every_s):
                    time.sleep(0.05)
                    count = _count(sink)
                    if count > arrived:
                        arrived, moved = count, time.monotonic()
                        show(arrived)
                        first = first or moved
                    elif time.monotonic() - moved > _STANDSTILL_S:
                        raise VedetteError(f"no SMS for {_STANDSTILL_S:g} s; see {directory / 'notify.log'}")
                    if process.poll() is not None:
                        raise VedetteError(f"the notifier ended by itself; see {directory / 'notify.log'}")
                    finished = count >= alerts and _settled(engine, alerts)
            finally:
                process.send_signal(signal.SIGKILL)
                process.wait()
            # Messages in flight still arrive: the next process has not sent them.
            while (count := _count(sink)) > arrived:
                arrived, moved = count, time.monotonic()
                time.sleep(0.03)
            kills += not finished
            sending_s += moved - first if first else 0.0
    seconds = moved - began
    bodies = Counter(line[-10:] for line in sink.read_text(encoding="utf-8").splitlines())
    with engine.connect() as connection:
        doubts = connection.execute(select(func.sum(messages.c.doubts))).scalar_one()
    return NotifierFigures(
        alerts=alerts,
        kills=kills,
        lost=alerts - len(bodies),
        doubled=bodies.total() - len(bodies),
        unknown=int(doubts or 0),
        rate_per_s=round(alerts / seconds, 1),
        steady_per_s=round(alerts / sending_s, 1) if sending_s else 0.0,
    )


def _settled(engine: Engine, alerts: int) -> bool:
    """Return whether all alerts are in incidents and nothing is left to send."""
    with engine.connect().execution_options(reads=True) as connection:
        taken = connection.execute(select(func.count()).select_from(incident_alerts)).scalar_one()
        return taken == alerts and outbox.unfinished(connection) == 0


def _start(settings: Settings, log: BinaryIO) -> "subprocess.Popen[bytes]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VEDETTE_")}
    for section in ("kafka", "database", "twilio", "incidents", "notify"):
        for key, value in msgspec.to_builtins(getattr(settings, section)).items():
            if isinstance(value, str | int | float) and not isinstance(value, bool):
                environment[f"VEDETTE_{section.upper()}__{key.upper()}"] = str(value)
    environment["VEDETTE_TWILIO__AUTH_TOKEN"] = _TOKEN
    command = [sys.executable, "-P", "-m", "cli", "notify"]
    return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


def _publish(settings: Settings, count: int) -> None:
    producer = KafkaProducer(settings.kafka, quiet=True)
    for number in range(count):
        alert = Alert(
            alert_id=f"alert-{number}", transaction_id=f"t-{number}", account_id=f"account-{number}", event_time=_NOW,
            amount=50_000 + number, currency="EUR", action="review", score=0.9, expected_loss=45_000 + number,
            reasons=[_NEW_DEVICE], country=COUNTRIES[number % _TEAMS],
        )  # fmt: skip
        producer.send(settings.topics.prefix + Name.ALERTS, msgspec.json.encode(alert), alert.account_id)
    producer.flush()


def _routing() -> str:
    people = [f'  team-{team}: {{channel: sms, to: "+1415555{1000 + team}"}}' for team in range(_TEAMS)]
    routes = [f"  - {{when: {{country: [{COUNTRIES[team]}]}}, notify: [team-{team}]}}" for team in range(_TEAMS)]
    return "\n".join(["format: 1", "recipients:", *people, "routes:", *routes, "  - notify: [team-0]", ""])


@contextmanager
def _sink() -> Iterator[tuple[str, str, Path]]:
    """Run Twilio's stand-in in a separate process; it writes one line for each message."""
    with tempfile.TemporaryDirectory(prefix="vedette-sms-") as folder:
        kept = Path(folder) / "kept"
        kept.touch()
        command = [sys.executable, "-P", "-m", "bench.notify", str(kept)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE) as process:
            try:
                url, account = (process.stdout.readline() if process.stdout else b"").decode().split()
                yield url, account, kept
            finally:
                process.kill()


def _count(kept: Path) -> int:
    """Return the number of SMS kept, one per line."""
    return kept.read_bytes().count(b"\n")


def _serve(kept: Path) -> None:
    with (
        kept.open("a", encoding="utf-8", buffering=1) as file,
        SmsSink(auth_token=_TOKEN, on_sms=lambda sms: print(sms.body, file=file)) as sink,
    ):
        print(sink.url, sink.account_sid, flush=True)
        sys.stdin.read()  # until the parent process ends


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
