"""Everything the demo starts and stops: servers, sinks, topics, and the three Vedette processes."""

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

from access.keyring import new_key
from adapters.database import open_database
from demo.customers import PREFIX
from demo.options import DemoOptions
from stack.local import LocalStack
from stack.mail import MailSink
from stack.process import Child, free_ports
from stack.sms import Sms, SmsSink
from stack.topics import apply
from vedette import Settings
from vedette.errors import UnavailableError
from vedette.settings import (
    ArchiveSettings,
    AuditSettings,
    ConsoleSettings,
    DatabaseSettings,
    IdentitySettings,
    IncidentSettings,
    KafkaSettings,
    MfaSettings,
    NotifySettings,
    RedisSettings,
    RegistrySettings,
    SmtpSettings,
    TopicSettings,
    TwilioSettings,
)
from vedette.settings_base import Secret
from vedette.settings_cards import CardSettings
from vedette.settings_file import ENV_PREFIX
from vedette.settings_gateway import PreviewSettings
from vedette.settings_page import describe

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
  - notify: [fraud-team, on-duty]
"""


class DemoProcess:
    """A `vedette` command in a separate process, which ends with this one.

    Args:
        name: The command; its first word names the log.
        directory: Folder of `vedette.toml` and the log.
        without: Names of environment variables that are removed.
        environment: Variables that are added.
    """

    def __init__(self, name: str, directory: Path, without: Collection[str], environment: dict[str, str]) -> None:
        self.name = name
        self.log = directory / f"{name.split(maxsplit=1)[0]}.log"
        # `env` becomes Python, so the process id is that of the command. -P: no folder of the caller is imported.
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
        """A sentence with the exit code once it has ended; empty while it runs."""
        code = self._child.exit_code(within_s=0.0)
        return "" if code is None else f"vedette {self.name} has ended with exit code {code}"

    def log_tail(self) -> str:
        """Return the last lines of its log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_LOG_LINES:])

    def stop(self) -> None:
        """Ask it to end, and kill it if it does not end."""
        self._child.stop(within_s=_STOP_WITHIN_S)


@dataclass(frozen=True)
class DemoEnvironment:
    """Running servers, and the settings with their addresses, which are also in `vedette.toml`."""

    directory: Path
    settings: Settings
    stack: LocalStack
    mail: MailSink
    sms: SmsSink
    database: Engine
    without: Collection[str]
    secrets: dict[str, str]
    """Environment variables of the processes; `vedette.toml` has no secrets."""

    @contextmanager
    def process(self, name: str) -> Iterator[DemoProcess]:
        """A `vedette` command, stopped at the end."""
        process = DemoProcess(name, self.directory, self.without, self.secrets)
        try:
            yield process
        finally:
            process.stop()

    @property
    def team_sms(self) -> list[Sms]:
        """Return the messages of the fraud team, which shares the SMS endpoint with the customers."""
        return [message for message in self.sms.messages if message.to == _TEAM]

    @property
    def failure(self) -> str:
        """A sentence naming the servers that have ended; empty while both run."""
        ended = [server.name for server in (self.stack.broker, self.stack.redis) if not server.running]
        return f"{' and '.join(ended)} ended" if ended else ""

    def worker_metrics(self) -> dict[tuple[str, str], float]:
        """Return the worker's metrics by name and first label, summed over partitions; empty if it does not answer."""
        status, text = self._ask("/metrics")
        if status != http.HTTPStatus.OK:
            return {}
        found: dict[tuple[str, str], float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                key = (sample.name, next((sample.labels[n] for n in ("stage", "topic") if n in sample.labels), ""))
                found[key] = found.get(key, 0.0) + sample.value
        return found

    def wait_for_worker(self, worker: DemoProcess, say: Callable[[str], None]) -> None:
        """Return once the worker has its partitions.

        Raises:
            UnavailableError: It has ended or is not ready in time; the message has the end of its log.
        """
        pause = Event()
        tries = round(WORKER_WITHIN_S / 0.1)
        for attempt in range(tries):
            if attempt == 100:
                say("still waiting for the worker, whose first run loads and compiles more than later ones")
            if worker.ended:
                raise UnavailableError(f"{worker.ended}; {worker.log} ends with:\n{worker.log_tail()}")
            if self._ask("/readyz")[0] == http.HTTPStatus.OK:
                return
            pause.wait(0.1)
        raise UnavailableError(f"vedette worker is not ready after {WORKER_WITHIN_S:g} s; see {worker.log}")

    def _ask(self, path: str) -> tuple[int, str]:
        """Return status and body of the worker's answer; status 0 without an answer."""
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


def card_settings() -> CardSettings:
    """Return settings by which card numbers of a file become tokens."""
    key, letters = (Secret(os.urandom(32).hex()) for _ in range(2))
    return CardSettings(numbers="tokenise", key=key, dead_letter_key=letters)


@contextmanager
def set_up(
    directory: Path, options: DemoOptions, environment: Collection[str], cards: CardSettings
) -> Iterator[DemoEnvironment]:
    """Start servers and sinks and create the topics; everything is stopped at the end.

    Args:
        directory: Folder of data and logs.
        options: Options of the demo.
        environment: Names of this process's environment variables. Vedette's own are removed for the processes, so
            that the demo never reaches the user's real broker.
        cards: What happens to card numbers.

    Raises:
        UnavailableError: A part is not installed or does not start.
    """
    with (
        LocalStack(directory / "stack", options.broker, options.redis) as stack,
        MailSink(directory=directory / "mails") as mail,
        SmsSink() as sms,
    ):
        port, page_port, console_port, archive_port, preview_port = free_ports(5)
        settings = Settings(
            kafka=KafkaSettings(bootstrap_servers=stack.bootstrap_servers),
            topics=TopicSettings(),
            redis=RedisSettings(url=stack.redis_url),
            database=DatabaseSettings(url=f"sqlite:///{directory / 'alerts.sqlite'}"),
            smtp=SmtpSettings(host=mail.host, port=mail.port, starttls=False),
            twilio=TwilioSettings(account_sid=sms.account_sid, auth_token=Secret(sms.auth_token), base_url=sms.url),
            decisions=options.decisions,
            worker=msgspec.structs.replace(options.worker, metrics_host="127.0.0.1", metrics_port=port),
            incidents=IncidentSettings(routing=str(directory / "routing.yaml")),
            notify=NotifySettings(email_from="vedette@bank.example", sms_from="+14155550100"),
            archive=ArchiveSettings(
                url=str(directory / "archive"),
                freshness_s=2.0,
                metrics_port=archive_port,
                history=[] if options.leave else [str(directory / "history.parquet")],
            ),
            console=ConsoleSettings(
                port=console_port, public_url=f"http://localhost:{console_port}", name="Example Bank"
            ),
            preview=PreviewSettings(port=preview_port, token=Secret(os.urandom(32).hex())),
            registry=RegistrySettings(
                url=f"sqlite:///{directory / 'registry.sqlite'}",
                artifacts=str(directory / "registry"),
                served=str(directory / "served"),
            ),
            identity=IdentitySettings(key=Secret(os.urandom(32).hex())),
            cards=cards,
            audit=AuditSettings(path=str(directory / "audit.jsonl"), key=Secret(os.urandom(32).hex())),
            mfa=MfaSettings(
                port=page_port,
                metrics_port=0,
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
        database = open_database(settings.database)
        try:
            yield DemoEnvironment(directory, settings, stack, mail, sms, database, without, _secrets(settings))
        finally:
            database.dispose()


def _secrets(settings: Settings) -> dict[str, str]:
    """Return the secrets as environment variables."""
    found = {
        "TWILIO__AUTH_TOKEN": settings.twilio.auth_token,
        "IDENTITY__KEY": settings.identity.key,
        "CARDS__KEY": settings.cards.key,
        "CARDS__DEAD_LETTER_KEY": settings.cards.dead_letter_key,
        "AUDIT__KEY": settings.audit.key,
        "MFA__KEYS": settings.mfa.keys,
        "PREVIEW__TOKEN": settings.preview.token,
    }
    return {ENV_PREFIX + name: secret.value for name, secret in found.items() if secret}
