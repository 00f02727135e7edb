"""Alerts through the outbox while the notifier is killed again and again: what is lost, doubled, in doubt, how fast."""

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
from confluent_kafka import Producer
from sqlalchemy import Engine, func, select

from alerts.database import open_database
from alerts.database.tables import incident_alerts, messages
from alerts.notify import outbox
from stack.local import LocalStack
from stack.sms import SmsSink
from stack.topics import apply
from vedette import Alert, Settings, VedetteError
from vedette.settings import IncidentSettings, KafkaSettings, NotifySettings, RedisSettings, Secret, TopicSettings
from vedette.topics import Name

_TEAMS = 20
"""Phones that share the alerts, by country: look-ups read the messages of one phone."""

_STANDSTILL_S = 120.0
_TOKEN = "bench"  # noqa: S105, of the server on this machine
_NOW = 1_763_726_400_000


@dataclass(frozen=True)
class Result:
    """What became of the alerts.

    Attributes:
        alerts: How many there were, each of an account of its own.
        kills: How often the notifier was killed.
        lost: Alerts without an SMS at the provider.
        doubled: SMS beyond the first of their message.
        unknown: Outcomes that nobody knew, and that were looked up.
        rate_per_s: Alerts a second from the first start to the last SMS, kills, restarts and look-ups included.
        steady_per_s: SMS a second while a process was sending, without the times from its start to its first SMS.
    """

    alerts: int
    kills: int
    lost: int
    doubled: int
    unknown: int
    rate_per_s: float
    steady_per_s: float


def measure(
    directory: Path, *, alerts: int, kill_every_s: float, broker: str, say: Callable[[str], None],
    show: Callable[[int], None],
) -> Result:  # fmt: skip
    """Publish alerts, and let notifiers tell of them by SMS, each killed after so many seconds; 0: never.

    Args:
        directory: For everything it needs.
        alerts: How many.
        kill_every_s: How long a notifier lives.
        broker: apache or embedded.
        say: Told what is being done.
        show: Told how many SMS the provider has.
    """
    with LocalStack(directory / "stack", broker, "embedded") as stack, _sink() as (url, account, sink):  # type: ignore[arg-type]
        settings = Settings(
            kafka=KafkaSettings(bootstrap_servers=stack.bootstrap_servers),
            topics=TopicSettings(),
            redis=RedisSettings(url=stack.redis_url),
            incidents=IncidentSettings(
                database=f"sqlite:///{directory / 'alerts.sqlite'}", routing=str(directory / "routing.yaml")
            ),
            notify=NotifySettings(
                sms_from="+14155550100", twilio_account_sid=account, twilio_auth_token=Secret(_TOKEN),
                twilio_base_url=url, parallel=32,
            ),
        )  # fmt: skip
        (directory / "routing.yaml").write_text(_routing(), encoding="utf-8")
        apply(settings)
        say(f"publishing {alerts:,} alerts")
        _publish(settings, alerts)
        engine = open_database(settings.incidents)
        try:
            say("telling of them")
            return _tell(settings, engine, sink, directory, alerts, kill_every_s, show)
        finally:
            engine.dispose()


def _tell(
    settings: Settings, engine: Engine, sink: Path, directory: Path, alerts: int, kill_every_s: float,
    show: Callable[[int], None],
) -> Result:  # fmt: skip
    kills, sending_s = 0, 0.0
    began = moved = time.monotonic()
    arrived = 0
    finished = False
    with (directory / "notify.log").open("ab") as log:
        while not finished:
            process = _start(settings, log)
            started, first = time.monotonic(), 0.0
            try:
                # Never before it has sent something: a machine that starts it too slowly would get nowhere.
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
            # What was on its way still arrives: the next process has not sent it.
            while (count := _count(sink)) > arrived:
                arrived, moved = count, time.monotonic()
                time.sleep(0.03)
            kills += not finished
            sending_s += moved - first if first else 0.0
    seconds = moved - began
    bodies = Counter(line[-10:] for line in sink.read_text(encoding="utf-8").splitlines())
    with engine.connect() as connection:
        doubts = connection.execute(select(func.sum(messages.c.doubts))).scalar_one()
    return Result(
        alerts=alerts,
        kills=kills,
        lost=alerts - len(bodies),
        doubled=bodies.total() - len(bodies),
        unknown=int(doubts or 0),
        rate_per_s=round(alerts / seconds, 1),
        steady_per_s=round(alerts / sending_s, 1) if sending_s else 0.0,
    )


def _settled(engine: Engine, alerts: int) -> bool:
    """Whether all alerts are in incidents and nothing is left to try."""
    with engine.connect().execution_options(reads=True) as connection:
        taken = connection.execute(select(func.count()).select_from(incident_alerts)).scalar_one()
        return taken == alerts and outbox.unfinished(connection) == 0


def _start(settings: Settings, log: BinaryIO) -> "subprocess.Popen[bytes]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VEDETTE_")}
    for section in ("kafka", "incidents", "notify"):
        for key, value in msgspec.to_builtins(getattr(settings, section)).items():
            if isinstance(value, str | int | float) and not isinstance(value, bool):
                environment[f"VEDETTE_{section.upper()}__{key.upper()}"] = str(value)
    environment["VEDETTE_NOTIFY__TWILIO_AUTH_TOKEN"] = _TOKEN
    command = [sys.executable, "-P", "-m", "cli", "notify"]
    return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


def _publish(settings: Settings, count: int) -> None:
    producer = Producer(settings.kafka.client_config() | {"partitioner": "murmur2_random", "acks": "all"})
    for number in range(count):
        alert = Alert(
            alert_id=f"alert-{number}", transaction_id=f"t-{number}", account_id=f"account-{number}", event_time=_NOW,
            amount=50_000 + number, currency="EUR", action="review", score=0.9, expected_loss=45_000 + number,
            reasons=["new device"], country=_country(number % _TEAMS),
        )  # fmt: skip
        producer.produce(settings.topics.prefix + Name.ALERTS, msgspec.json.encode(alert), alert.account_id)
        producer.poll(0)
    if producer.flush(60):
        raise VedetteError("the broker did not take the alerts")


def _country(team: int) -> str:
    return f"A{chr(ord('A') + team)}"


def _routing() -> str:
    people = [f'  team-{team}: {{channel: sms, to: "+1415555{1000 + team}"}}' for team in range(_TEAMS)]
    routes = [f"  - {{when: {{country: [{_country(team)}]}}, tell: [team-{team}]}}" for team in range(_TEAMS)]
    return "\n".join(["format: 1", "recipients:", *people, "routes:", *routes, "  - tell: [team-0]", ""])


@contextmanager
def _sink() -> Iterator[tuple[str, str, Path]]:
    """Twilio's stand-in in a process of its own, as far away as on this machine can be; it writes what it keeps."""
    with tempfile.TemporaryDirectory(prefix="vedette-sms-") as folder:
        kept = Path(folder) / "kept"
        kept.touch()
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "bench.notify", str(kept)], stdout=subprocess.PIPE, stdin=subprocess.PIPE
        )
        try:
            url, account = (process.stdout.readline() if process.stdout else b"").decode().split()
            yield url, account, kept
        finally:
            process.kill()
            process.wait()


def _count(kept: Path) -> int:
    """How many SMS have been kept: a line each."""
    return kept.read_bytes().count(b"\n")


def _serve(kept: Path) -> None:
    with (
        kept.open("a", encoding="utf-8", buffering=1) as file,
        SmsSink(auth_token=_TOKEN, on_sms=lambda sms: print(sms.body, file=file)) as sink,
    ):
        print(sink.url, sink.account_sid, flush=True)
        sys.stdin.read()  # until whoever started this is gone


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
