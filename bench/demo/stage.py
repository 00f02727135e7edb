"""Everything the demo starts, and stops again: servers, sinks, topics, and the three Vedette processes."""

import http.client
import os
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import msgspec
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine

import models
import streams
from alerts.database import open_database
from alerts.mfa.keyring import new_key
from bench.demo.customers import PREFIX
from bench.demo.options import Options
from stack.local import LocalStack
from stack.mail import MailSink
from stack.process import Child, free_ports
from stack.sms import Sms, SmsSink
from stack.topics import apply
from vedette import Settings
from vedette.errors import UnavailableError
from vedette.settings import (
    ENV_PREFIX,
    AuditSettings,
    IncidentSettings,
    KafkaSettings,
    MfaSettings,
    NotifySettings,
    RedisSettings,
    Secret,
    TopicSettings,
    WorkerSettings,
    describe,
)

WORKER_WITHIN_S = 240.0
_STOP_WITHIN_S = 20.0
_LOG_LINES = 5
_TEAM = "+14155550101"
_NO_LIMIT = 1_000_000_000

_ROUTING = f"""\
format: 1
recipients:
  fraud-team: {{channel: email, to: fraud-team@bank.example}}
  on-duty: {{channel: sms, to: "{_TEAM}"}}
routes:
  - tell: [fraud-team, on-duty]
"""


class Process:
    """A `vedette` command in a process of its own, which ends with this one.

    Args:
        name: The command, and the name of its log.
        directory: Where `vedette.toml` is, and its log goes.
        without: Names of environment variables that it must not see.
        environment: Variables that it must see.
    """

    def __init__(self, name: str, directory: Path, without: Collection[str], environment: dict[str, str]) -> None:
        self.name = name
        self.log = directory / f"{name.split(maxsplit=1)[0]}.log"
        # `env` becomes Python, so the process id is the command's own. -P: no folder of the caller's is imported.
        self._child = Child(
            [
                *("env", *(part for variable in without for part in ("-u", variable))),
                *(f"{variable}={value}" for variable, value in environment.items()),
                *(sys.executable, "-P", "-c", "from cli.main import main; main()"),
                *("--settings", str(directory / "vedette.toml"), *name.split()),
            ],
            log=self.log,
        )

    @property
    def ended(self) -> str:
        """That it has ended, and how, in one sentence; empty while it runs."""
        code = self._child.exit_code(within_s=0.0)
        return "" if code is None else f"vedette {self.name} has ended with exit code {code}"

    def log_tail(self) -> str:
        """The last lines of its log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_LOG_LINES:])

    def stop(self) -> None:
        """Ask it to end, and make it if it does not."""
        self._child.stop(within_s=_STOP_WITHIN_S)


@dataclass(frozen=True)
class Stage:
    """Servers that answer, and the settings that lead to them, which are also in `vedette.toml`."""

    directory: Path
    settings: Settings
    stack: LocalStack
    mail: MailSink
    sms: SmsSink
    alerts: Engine
    without: Collection[str]
    secrets: dict[str, str]
    """Variables that the processes must see, beside `vedette.toml`."""

    @contextmanager
    def process(self, name: str) -> Iterator[Process]:
        """A `vedette` command, stopped at the end."""
        process = Process(name, self.directory, self.without, self.secrets)
        try:
            yield process
        finally:
            process.stop()

    @property
    def team_sms(self) -> list[Sms]:
        """What the fraud team got, which shares the SMS endpoint with the customers."""
        return [message for message in self.sms.messages if message.to == _TEAM]

    @property
    def broken(self) -> str:
        """That a server has ended, in one sentence; empty while both run."""
        ended = [server.name for server in (self.stack.broker, self.stack.redis) if not server.running]
        return f"{' and '.join(ended)} ended" if ended else ""

    def metrics(self) -> dict[tuple[str, str], float]:
        """The worker's metrics by name and first label, its partitions added up; empty if it does not answer."""
        status, text = self._ask("/metrics")
        if status != http.HTTPStatus.OK:
            return {}
        found: dict[tuple[str, str], float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                key = (sample.name, next((sample.labels[n] for n in ("stage", "topic") if n in sample.labels), ""))
                found[key] = found.get(key, 0.0) + sample.value
        return found

    def wait_for_worker(self, worker: Process, say: Callable[[str], None]) -> None:
        """Return once the worker has its partitions.

        Raises:
            UnavailableError: It ended, or is not ready in time; with the end of its log.
        """
        pause = Event()
        tries = round(WORKER_WITHIN_S / 0.1)
        for attempt in range(tries):
            if attempt == 100:
                say("still waiting for the worker: its first run compiles kernels, which takes about a minute")
            if worker.ended:
                raise UnavailableError(f"{worker.ended}; {worker.log} ends with:\n{worker.log_tail()}")
            if self._ask("/readyz")[0] == http.HTTPStatus.OK:
                return
            pause.wait(0.1)
        raise UnavailableError(f"vedette worker is not ready after {WORKER_WITHIN_S:g} s; see {worker.log}")

    def _ask(self, path: str) -> tuple[int, str]:
        """Status and body of the worker's answer; 0 if there is none."""
        worker = self.settings.worker
        connection = http.client.HTTPConnection(worker.metrics_host, worker.metrics_port, timeout=1.0)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException):
            return 0, ""
        finally:
            connection.close()


@contextmanager
def set_up(directory: Path, options: Options, environment: Collection[str]) -> Iterator[Stage]:
    """Servers, sinks and topics; all stopped at the end.

    Args:
        directory: For data and logs.
        options: Of the demo.
        environment: Names of the variables around; Vedette's own are kept from the processes, so that the demo never
            meets the user's real broker.

    Raises:
        UnavailableError: A part is not installed or does not start.
    """
    with (
        LocalStack(directory / "stack", options.broker, options.redis) as stack,
        MailSink(directory=directory / "mails") as mail,
        SmsSink() as sms,
    ):
        port, page_port = free_ports(2)
        settings = Settings(
            kafka=KafkaSettings(bootstrap_servers=stack.bootstrap_servers),
            topics=TopicSettings(),
            redis=RedisSettings(url=stack.redis_url),
            worker=_worker(options.worker, port),
            incidents=IncidentSettings(
                database=f"sqlite:///{directory / 'alerts.sqlite'}", routing=str(directory / "routing.yaml")
            ),
            notify=NotifySettings(
                email_from="vedette@bank.example",
                smtp_host=mail.host,
                smtp_port=mail.port,
                smtp_starttls=False,
                sms_from="+14155550100",
                twilio_account_sid=sms.account_sid,
                twilio_auth_token=Secret(sms.auth_token),
                twilio_base_url=sms.url,
            ),
            audit=AuditSettings(path=str(directory / "audit.jsonl"), key=Secret(os.urandom(32).hex())),
            mfa=MfaSettings(
                port=page_port,
                public_url=f"http://localhost:{page_port}",
                keys=Secret(new_key("demo", os.urandom)),
                release=["EUR 30.00"],
                sms_from="+14155550100",
                sms_prefixes=[PREFIX],
                sms_per_hour=_NO_LIMIT,  # the demo's days pass in seconds
                sms_prefix_cap=_NO_LIMIT,
            ),
        )
        (directory / "routing.yaml").write_text(_ROUTING, encoding="utf-8")
        (directory / "vedette.toml").write_text(describe(settings), encoding="utf-8")
        apply(settings)
        without = [name for name in environment if name.startswith(ENV_PREFIX)]
        alerts = open_database(settings.incidents)
        try:
            yield Stage(directory, settings, stack, mail, sms, alerts, without, _secrets(settings))
        finally:
            alerts.dispose()


def _secrets(settings: Settings) -> dict[str, str]:
    """The secrets as environment variables, since `vedette.toml` has none."""
    found = {
        "NOTIFY__TWILIO_AUTH_TOKEN": settings.notify.twilio_auth_token,
        "AUDIT__KEY": settings.audit.key,
        "MFA__KEYS": settings.mfa.keys,
    }
    return {ENV_PREFIX + name: secret.value for name, secret in found.items() if secret}


def _worker(asked: WorkerSettings, port: int) -> WorkerSettings:
    """The worker's settings as asked for; what ships is found wherever the demo is started."""
    defaults = WorkerSettings()
    shipped = {
        "model": Path(str(models.__file__)).with_name("demo"),
        "policy": Path(str(streams.__file__)).with_name("policy.yaml"),
    }
    replaced = {key: str(path) for key, path in shipped.items() if getattr(asked, key) == getattr(defaults, key)}
    return msgspec.structs.replace(asked, metrics_host="127.0.0.1", metrics_port=port, **replaced)
