"""All settings as one typed object, from a TOML file, the environment and secret files.

Precedence, highest first: environment (`VEDETTE_REDIS__URL` is `[redis] url`), the TOML file, the defaults here.
A secret is never written in the TOML file: it comes from the environment or from the file that `<name>_file`
names. Nothing else in Vedette reads the environment.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import msgspec
from msgspec import Meta

from vedette.errors import SettingsError

ENV_PREFIX = "VEDETTE_"


class Secret(msgspec.Struct, frozen=True):
    """A value that is never printed."""

    value: str

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sections: immutable, and a misspelt key is an error."""


Port = Annotated[int, Meta(ge=0, le=65535)]


class KafkaSettings(Section, frozen=True):
    """`[kafka]`: how to reach the broker."""

    bootstrap_servers: Annotated[str, Meta(description="host:port, comma separated")] = "localhost:9092"
    security_protocol: Annotated[str, Meta(description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL")] = "PLAINTEXT"
    sasl_mechanism: Annotated[str, Meta(description="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")] = "PLAIN"
    username: Annotated[str, Meta(description="SASL user name")] = ""
    password: Annotated[Secret | None, Meta(description="SASL password")] = None
    ca_file: Annotated[str, Meta(description="certificate authority that signed the brokers' certificates")] = ""

    def client_config(self) -> dict[str, str | int | float | bool]:
        """The librdkafka properties that every confluent-kafka client of Vedette starts from."""
        config: dict[str, str | int | float | bool] = {
            "bootstrap.servers": self.bootstrap_servers,
            "security.protocol": self.security_protocol.lower(),
        }
        if self.ca_file:
            config["ssl.ca.location"] = self.ca_file
        if self.security_protocol.startswith("SASL"):
            config["sasl.mechanism"] = self.sasl_mechanism
            config["sasl.username"] = self.username
            config["sasl.password"] = self.password.value if self.password else ""
        return config


class TopicSettings(Section, frozen=True):
    """`[topics]`: how topics are created."""

    prefix: Annotated[str, Meta(description="put before every topic name")] = ""
    partitions: Annotated[int, Meta(ge=1, le=1024, description="of every topic but control")] = 4
    replication: Annotated[int, Meta(ge=1, description="copies of every partition")] = 1
    max_message_bytes: Annotated[int, Meta(ge=1_000_000, description="of topics with batches or dead letters")] = (
        16_000_000
    )


_REDIS_URL = (
    "redis://, unix://, redis+cluster://host:port, redis+sentinel://host:port,host:port/service; or rediss for TLS"
)


class RedisSettings(Section, frozen=True):
    """`[redis]`: where feature state lives."""

    url: Annotated[str, Meta(description=_REDIS_URL)] = "redis://localhost:6379/0"
    password: Annotated[Secret | None, Meta(description="password, when not part of a secret URL")] = None
    sentinel_password: Annotated[Secret | None, Meta(description="of the Sentinels, if they ask for one")] = None
    prefix: Annotated[str, Meta(description="put before every key")] = "vedette:"
    timeout_s: Annotated[float, Meta(gt=0, description="for one answer")] = 5.0
    state_ttl_days: Annotated[int, Meta(ge=31, description="an idle account's state is dropped after")] = 60


class WorkerSettings(Section, frozen=True):
    """`[worker]`: the streaming worker."""

    group: Annotated[str, Meta(description="Kafka consumer group")] = "vedette-worker"
    batch_max: Annotated[int, Meta(ge=2, le=20_000, description="transactions handed to the pipeline at once")] = 8000
    cache_accounts: Annotated[int, Meta(ge=0, description="account states kept in memory")] = 2_000_000
    model: Annotated[str, Meta(description="model folder")] = "models/demo"
    policy: Annotated[str, Meta(description="policy file")] = "streams/policy.yaml"
    metrics_host: Annotated[str, Meta(description="address of metrics, health and readiness")] = "127.0.0.1"
    metrics_port: Annotated[Port, Meta(description="0 takes a free one")] = 9464
    instance: Annotated[
        str, Meta(description="name in the group: a worker restarted under it has its partitions back at once")
    ] = ""
    session_timeout_s: Annotated[float, Meta(gt=0, description="a silent worker loses its partitions after")] = 6.0
    stuck_after_s: Annotated[
        float,
        Meta(gt=0, description="a batch that takes longer stops the worker, so that another takes over"),
    ] = 60.0
    max_future_s: Annotated[
        float,
        Meta(gt=0, description="an event dated further ahead of its arrival goes to the dead-letter topic"),
    ] = 86_400.0


class IncidentSettings(Section, frozen=True):
    """`[incidents]`: what the fraud team works on, and the database it is kept in."""

    database: Annotated[str, Meta(description="sqlite:///FILE, or postgresql://USER@HOST/NAME")] = (
        "sqlite:///var/alerts.sqlite"
    )
    database_password: Annotated[Secret | None, Meta(description="PostgreSQL's password")] = None
    routing: Annotated[str, Meta(description="YAML file that says who is told of what")] = ""
    expire_after_h: Annotated[int, Meta(ge=1, description="an incident nobody touches ends after")] = 168


class RegistrySettings(Section, frozen=True):
    """`[registry]`: where models are kept, with their versions and who approved them."""

    url: Annotated[str, Meta(description="MLflow: a database (sqlite:///FILE) or a tracking server (https://…)")] = (
        "sqlite:///var/registry.sqlite"
    )
    artifacts: Annotated[str, Meta(description="where a registry in a database keeps the model folders")] = (
        "var/registry"
    )
    model: Annotated[str, Meta(description="registered model of this deployment")] = "vedette"
    served: Annotated[str, Meta(description="where this machine keeps copies of the versions it uses")] = "var/served"


class NotifySettings(Section, frozen=True):
    """`[notify]`: how messages reach the fraud team, and how answers come back."""

    group: Annotated[str, Meta(description="Kafka consumer group")] = "vedette-notify"
    parallel: Annotated[int, Meta(ge=1, le=256, description="messages under way at once, on each channel")] = 16
    timeout_s: Annotated[float, Meta(gt=0, description="for every step of sending one message")] = 10.0
    retention_days: Annotated[int, Meta(ge=1, description="what was sent is forgotten after")] = 90
    templates: Annotated[str, Meta(description="folder with templates and languages of your own")] = ""
    email_from: Annotated[str, Meta(description="sender address")] = "vedette@localhost"
    smtp_host: Annotated[str, Meta(description="mail server")] = "localhost"
    smtp_port: Annotated[Port, Meta(description="587 for STARTTLS, 25 or 1025 without")] = 587
    smtp_starttls: Annotated[bool, Meta(description="switch to TLS before anything is said")] = True
    smtp_username: Annotated[str, Meta(description="user name, if the server asks")] = ""
    smtp_password: Annotated[Secret | None, Meta(description="password, if the server asks")] = None
    sms_from: Annotated[str, Meta(description="sender number or messaging service")] = ""
    whatsapp_from: Annotated[str, Meta(description="sender number or messaging service")] = ""
    whatsapp_content: Annotated[str, Meta(description="id of the approved template that begins a conversation")] = ""
    twilio_account_sid: Annotated[str, Meta(description="starts with AC")] = ""
    twilio_auth_token: Annotated[Secret | None, Meta(description="from Twilio's console")] = None
    twilio_base_url: Annotated[str, Meta(description="another server that speaks Twilio's API; empty: Twilio")] = ""
    sns_endpoint: Annotated[str, Meta(description="another server that speaks SNS; empty: AWS")] = ""
    public_url: Annotated[
        str, Meta(description="where `vedette notify web` is reached; empty: no links or replies")
    ] = ""
    link_key: Annotated[Secret | None, Meta(description="signs links; at least 32 characters")] = None
    web_host: Annotated[str, Meta(description="address of `vedette notify web`")] = "127.0.0.1"
    web_port: Annotated[Port, Meta(description="0 takes a free one")] = 8090


class AuditSettings(Section, frozen=True):
    """`[audit]`: the log of every step of challenges, call checks and access, and of what people do to incidents."""

    path: Annotated[str, Meta(description="file of JSON lines")] = "var/audit.jsonl"
    anchor: Annotated[
        str, Meta(description="file that says how far the log reaches, best on another disk; empty: beside the log")
    ] = ""
    key: Annotated[Secret | None, Meta(description="at least 32 bytes; whoever knows it can forge records")] = None
    sync_ms: Annotated[int, Meta(ge=0, description="a record is on disk after at most")] = 200


class MfaSettings(Section, frozen=True):
    """`[mfa]`: challenges to customers; SMS go through the Twilio account and e-mail through the server of [notify]."""

    group: Annotated[str, Meta(description="Kafka consumer group")] = "vedette-mfa"
    host: Annotated[str, Meta(description="address to listen on")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="of pages and API")] = 8470
    public_url: Annotated[str, Meta(description="where customers reach the pages; passkeys are bound to its host")] = (
        "http://localhost:8470"
    )
    proxies: Annotated[list[str], Meta(description="addresses whose X-Forwarded-For is believed")] = msgspec.field(
        default_factory=lambda: ["127.0.0.1"]
    )
    name: Annotated[str, Meta(description="of the institution, as customers know it")] = "Vedette"
    keys: Annotated[Secret | None, Meta(description="keyring, the newest key first: `vedette mfa keygen`")] = None
    factors: Annotated[list[str], Meta(description="accepted, the preferred one first")] = msgspec.field(
        default_factory=lambda: ["passkey", "totp", "sms"]
    )
    release: Annotated[
        list[str], Meta(description="a payment up to such an amount, as in EUR 30.00, is let through if nobody answers")
    ] = []
    sms_from: Annotated[str, Meta(description="sender number or messaging service; empty: no SMS to customers")] = ""
    sms_prefixes: Annotated[list[str], Meta(description="beginnings of the only numbers that get an SMS")] = []
    sms_per_hour: Annotated[int, Meta(ge=1, description="SMS in an hour to one number, and to one account")] = 10
    sms_prefix_cap: Annotated[int, Meta(ge=1, description="SMS in an hour to the numbers of one prefix")] = 5000
    email_from: Annotated[str, Meta(description="sender of notices; empty: no e-mail to customers")] = ""


class Settings(Section, frozen=True):
    """The whole."""

    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    redis: RedisSettings = RedisSettings()
    worker: WorkerSettings = WorkerSettings()
    incidents: IncidentSettings = IncidentSettings()
    registry: RegistrySettings = RegistrySettings()
    notify: NotifySettings = NotifySettings()
    audit: AuditSettings = AuditSettings()
    mfa: MfaSettings = MfaSettings()


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Settings from a TOML file (optional) and an environment.

    Args:
        path: The TOML file, or None for defaults and environment alone.
        environ: Usually os.environ, read here and nowhere else.

    Raises:
        SettingsError: A file is missing, a key is unknown, or a value does not fit; the message names the key.
    """
    merged = _read_toml(path) if path else {}
    sections = get_type_hints(Settings)
    for variable, text in environ.items():
        if not variable.startswith(ENV_PREFIX) or "__" not in variable:
            continue
        section, key = variable[len(ENV_PREFIX) :].lower().split("__", 1)
        if section not in sections:
            raise SettingsError(f"{variable}: there is no section [{section}]", remedy=f"one of {', '.join(sections)}")
        merged.setdefault(section, {})[key] = text
    for section, values in merged.items():
        if section in sections and isinstance(values, dict):
            _prepare(section, sections[section], values)
    try:
        return msgspec.convert(merged, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(
            f"settings: {error}", remedy="`vedette settings` lists every key with its meaning"
        ) from error


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SettingsError(f"settings file {path} does not exist") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {path}: {error}") from error


def _prepare(section: str, kind: type, values: dict[str, Any]) -> None:
    """Resolve `<secret>_file` keys, wrap secrets, and split comma-separated lists, in place."""
    for key, hint in get_type_hints(kind).items():
        if hint == Secret | None:
            if isinstance(file := values.pop(f"{key}_file", None), str):
                values.setdefault(key, _read_secret(section, key, Path(file)))
            if isinstance(values.get(key), str):
                values[key] = {"value": values[key]}
        elif hint == list[str] and isinstance(text := values.get(key), str):
            values[key] = [part.strip() for part in text.split(",") if part.strip()]


def _read_secret(section: str, key: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"[{section}] {key}_file: cannot read {path}: {error.strerror}") from error


def reference() -> str:
    """The settings as a Markdown page, generated from the types above."""
    lines = [
        "# Settings",
        "",
        "Generated by `vedette settings --markdown`. Each key can also be set by the environment variable named.",
        "A secret comes from that variable or from the file that `<key>_file` names, never from the TOML itself.",
    ]
    for section, kind in get_type_hints(Settings).items():
        lines += [
            "",
            f"## [{section}]",
            "",
            "| key | meaning | default | environment |",
            "| --- | --- | --- | --- |",
        ]
        default = kind()
        for key, hint in get_type_hints(kind, include_extras=True).items():
            metas = [meta for meta in getattr(hint, "__metadata__", ()) if meta.description]
            value = getattr(default, key)
            shown = (
                "secret" if get_type_hints(kind)[key] == Secret | None else f"`{msgspec.json.encode(value).decode()}`"
            )
            variable = f"{ENV_PREFIX}{section.upper()}__{key.upper()}"
            lines.append(f"| `{key}` | {metas[0].description if metas else ''} | {shown} | `{variable}` |")
    return "\n".join(lines) + "\n"


def describe(settings: Settings) -> str:
    """The settings in force as TOML, with secrets hidden."""
    lines: list[str] = []
    for section in get_type_hints(Settings):
        lines.append(f"[{section}]")
        values = getattr(settings, section)
        for key, hint in get_type_hints(type(values)).items():
            value = getattr(values, key)
            if hint == Secret | None:
                lines.append(f"# {key} is {'set' if value else 'not set'}")
            else:
                lines.append(f"{key} = {msgspec.json.encode(value).decode()}")
        lines.append("")
    return "\n".join(lines)
