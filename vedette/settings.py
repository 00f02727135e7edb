"""All settings as one typed object. `settings_file` loads it, `settings_page` prints it.

A section is named after the package or the server that it configures. Choices are closed sets (`Literal`), which are
accepted in upper and lower case; secrets are read from their files when they are used, and are never printed.
"""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from vedette.settings_base import Port, Secret, Section
from vedette.settings_cards import CardSettings
from vedette.settings_gateway import GatewaySettings, Iso8583Settings, PreviewSettings
from vedette.settings_oidc import OidcSettings

_ROOMS = Path(__file__).parents[1]
"""Folder of the packages, which contain the shipped model and policy."""


SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]
FactorName = Literal["passkey", "totp", "sms"]


class KafkaSettings(Section, frozen=True):
    """`[kafka]`: how to reach the broker."""

    bootstrap_servers: Annotated[str, Meta(description="host:port, comma separated")] = "localhost:9092"
    security_protocol: Annotated[SecurityProtocol, Meta(description="encryption and login")] = "PLAINTEXT"
    sasl_mechanism: Annotated[SaslMechanism, Meta(description="kind of login, with a SASL_ protocol")] = "PLAIN"
    username: Annotated[str, Meta(description="SASL user name; client id of oauth_url")] = ""
    password: Annotated[Secret | None, Meta(description="SASL password; client secret of oauth_url")] = None
    ca_file: Annotated[str, Meta(description="certificate authority that signed the brokers' certificates")] = ""
    certificate_file: Annotated[str, Meta(description="certificate (chain) of this client, PEM, for mutual TLS")] = ""
    key_file: Annotated[str, Meta(description="its private key, PEM; empty: in certificate_file")] = ""
    key_password: Annotated[Secret | None, Meta(description="password of the private key")] = None
    oauth_url: Annotated[str, Meta(description="OAuth 2.0 token endpoint for OAUTHBEARER, by client credentials")] = ""
    oauth_scope: Annotated[str, Meta(description="scope to ask for; empty: none")] = ""
    oauth_ca_file: Annotated[
        str, Meta(description="authority of the token endpoint's certificate; empty: those of the system")
    ] = ""
    oauth_token_file: Annotated[
        str, Meta(description="file with the token instead, renewed by the platform; read again before it expires")
    ] = ""
    properties: Annotated[
        dict[str, str],
        Meta(description="further librdkafka properties; in the environment: name=value, comma separated"),
    ] = msgspec.field(default_factory=dict)
    timeout_s: Annotated[float, Meta(gt=0, description="time-out for a response of the broker")] = 10.0


class TopicSettings(Section, frozen=True):
    """`[topics]`: how topics are created."""

    prefix: Annotated[str, Meta(description="prefix of every topic name")] = ""
    partitions: Annotated[int, Meta(ge=1, le=1024, description="partitions of every topic but control")] = 4
    replication: Annotated[int, Meta(ge=1, description="copies of every partition")] = 1
    max_message_bytes: Annotated[
        int, Meta(ge=1_000_000, description="largest message of the topics with batches or dead letters")
    ] = 16_000_000


_REDIS_URL = (
    "redis://, unix://, redis+cluster://host:port, redis+sentinel://host:port,host:port/service; or rediss for TLS"
)


class RedisSettings(Section, frozen=True):
    """`[redis]`: storage of feature state and challenges."""

    url: Annotated[str, Meta(description=_REDIS_URL)] = "redis://localhost:6379/0"
    password: Annotated[Secret | None, Meta(description="password, when not part of a secret URL")] = None
    sentinel_password: Annotated[Secret | None, Meta(description="password of the Sentinels, if they require one")] = (
        None
    )
    prefix: Annotated[str, Meta(description="prefix of every key")] = "vedette:"
    timeout_s: Annotated[float, Meta(gt=0, description="time-out for a response of Redis")] = 5.0
    state_ttl_days: Annotated[
        int, Meta(ge=31, description="days after its last event at which an account's state is dropped")
    ] = 60


class DatabaseSettings(Section, frozen=True):
    """`[database]`: the SQL database of incidents, notifications and credentials."""

    url: Annotated[str, Meta(description="sqlite:///FILE, or postgresql://USER@HOST/NAME")] = (
        "sqlite:///var/alerts.sqlite"
    )
    password: Annotated[Secret | None, Meta(description="PostgreSQL's password")] = None


class SmtpSettings(Section, frozen=True):
    """`[smtp]`: the mail server for e-mail to the fraud team and to customers."""

    host: Annotated[str, Meta(description="mail server")] = "localhost"
    port: Annotated[Port, Meta(description="587 for STARTTLS, 25 or 1025 without")] = 587
    starttls: Annotated[bool, Meta(description="switch to TLS before the login and the first message")] = True
    username: Annotated[str, Meta(description="user name, if the server requires a login")] = ""
    password: Annotated[Secret | None, Meta(description="password, if the server requires a login")] = None
    timeout_s: Annotated[float, Meta(gt=0, description="time-out for every step of sending one message")] = 10.0


class TwilioSettings(Section, frozen=True):
    """`[twilio]`: the account that sends SMS and WhatsApp messages to the fraud team and to customers."""

    account_sid: Annotated[str, Meta(description="starts with AC")] = ""
    auth_token: Annotated[Secret | None, Meta(description="from Twilio's console")] = None
    base_url: Annotated[str, Meta(description="another server that speaks Twilio's API; empty: Twilio")] = ""
    timeout_s: Annotated[float, Meta(gt=0, description="time-out for every step of sending one message")] = 10.0


class DecisionSettings(Section, frozen=True):
    """`[decisions]`: model and policy in force until a control record names others."""

    model: Annotated[str, Meta(description="model folder; empty: the one that ships with Vedette")] = ""
    policy: Annotated[str, Meta(description="policy file; empty: the one that ships with Vedette")] = ""

    @property
    def model_folder(self) -> Path:
        """The model folder, wherever the process was started."""
        return Path(self.model) if self.model else _ROOMS / "models" / "demo"

    @property
    def policy_file(self) -> Path:
        """The policy file, wherever the process was started."""
        return Path(self.policy) if self.policy else _ROOMS / "decisions" / "policy.yaml"


class IdentitySettings(Section, frozen=True):
    """`[identity]`: how accounts, merchants, devices, addresses and payees are named in state and activity."""

    key: Annotated[
        Secret | None,
        Meta(description="key of their hashes, the same for all workers: `vedette identity keygen`; none: no secret"),
    ] = None


class FeatureSettings(Section, frozen=True):
    """`[features]`: the meaning of features; what is computed under another one does not fit."""

    label_delay_days: Annotated[
        int, Meta(ge=1, le=30, description="days from a payment until its label takes effect in features")
    ] = 7

    @property
    def label_delay(self) -> int:
        """The label delay in milliseconds."""
        return self.label_delay_days * 86_400_000


class WorkerSettings(Section, frozen=True):
    """`[worker]`: the streaming worker."""

    group: Annotated[str, Meta(description="Kafka consumer group")] = "vedette-worker"
    batch_max: Annotated[int, Meta(ge=2, le=20_000, description="transactions handed to the pipeline at once")] = 8000
    cache_accounts: Annotated[int, Meta(ge=0, description="account states kept in memory")] = 2_000_000
    metrics_host: Annotated[str, Meta(description="address of metrics, health and readiness")] = "127.0.0.1"
    metrics_port: Annotated[Port, Meta(description="port of metrics, health and readiness; 0: any free one")] = 9464
    instance: Annotated[
        str, Meta(description="name in the group: a worker restarted under it gets its partitions back at once")
    ] = ""
    session_timeout_s: Annotated[
        float, Meta(gt=0, description="seconds of silence after which a worker loses its partitions")
    ] = 6.0
    stuck_after_s: Annotated[
        float,
        Meta(gt=0, description="a batch that takes longer stops the worker, so that another takes over"),
    ] = 60.0
    max_future_s: Annotated[
        float,
        Meta(gt=0, description="an event dated further ahead of its arrival goes to the dead-letter topic"),
    ] = 86_400.0


class IncidentSettings(Section, frozen=True):
    """`[incidents]`: the incidents of the fraud team."""

    routing: Annotated[str, Meta(description="YAML file with the recipients of notifications")] = ""
    expire_after_h: Annotated[
        int, Meta(ge=1, description="hours without an action after which an incident is closed as expired")
    ] = 168


class ArchiveSettings(Section, frozen=True):
    """`[archive]`: topics stored as Delta tables, beyond their retention."""

    url: Annotated[str, Meta(description="a folder, or s3://BUCKET/PREFIX")] = "var/archive"
    freshness_s: Annotated[float, Meta(gt=0, description="maximum delay of archiving a message, in seconds")] = 10.0
    retention_days: Annotated[
        int, Meta(ge=0, description="days after which `vedette archive compact` deletes events; 0: never")
    ] = 0
    history: Annotated[
        list[str], Meta(description="files that `vedette backfill --load` loaded before the first archived event")
    ] = msgspec.field(default_factory=list)
    history_mapping: Annotated[str, Meta(description="mapping of the columns of these files")] = "vedette"
    history_labels: Annotated[str, Meta(description="file of their labels; empty: they have them themselves")] = ""
    metrics_host: Annotated[str, Meta(description="address of metrics, health and readiness")] = "127.0.0.1"
    metrics_port: Annotated[Port, Meta(description="port of metrics, health and readiness; 0: any free one")] = 9466
    s3_region: Annotated[str, Meta(description="region of the bucket")] = "us-east-1"
    s3_endpoint: Annotated[str, Meta(description="another server that speaks S3; empty: AWS")] = ""
    s3_access_key: Annotated[str, Meta(description="access key id; empty: the machine's own role")] = ""
    s3_secret_key: Annotated[Secret | None, Meta(description="the access key's secret")] = None


class RegistrySettings(Section, frozen=True):
    """`[registry]`: the store of models, with their versions and approvals."""

    url: Annotated[str, Meta(description="MLflow: a database (sqlite:///FILE) or a tracking server (https://…)")] = (
        "sqlite:///var/registry.sqlite"
    )
    artifacts: Annotated[str, Meta(description="folder of the model folders, for a registry in a database")] = (
        "var/registry"
    )
    model: Annotated[str, Meta(description="registered model of this deployment")] = "vedette"
    served: Annotated[str, Meta(description="folder of this machine's copies of the versions it uses")] = "var/served"


class NotifySettings(Section, frozen=True):
    """`[notify]`: how messages reach the fraud team, and how answers come back."""

    group: Annotated[str, Meta(description="Kafka consumer group")] = "vedette-notify"
    parallel: Annotated[int, Meta(ge=1, le=256, description="messages sent at the same time on each channel")] = 16
    timeout_s: Annotated[
        float, Meta(gt=0, description="time-out for every step of a webhook, SNS or Apprise message")
    ] = 10.0
    retention_days: Annotated[int, Meta(ge=1, description="days after which sent messages are deleted")] = 90
    templates: Annotated[str, Meta(description="folder of custom templates and languages")] = ""
    email_from: Annotated[str, Meta(description="sender address")] = "vedette@localhost"
    sms_from: Annotated[str, Meta(description="sender number or messaging service")] = ""
    whatsapp_from: Annotated[str, Meta(description="sender number or messaging service")] = ""
    whatsapp_content: Annotated[str, Meta(description="id of the approved template that begins a conversation")] = ""
    sns_endpoint: Annotated[str, Meta(description="another server that speaks SNS; empty: AWS")] = ""
    public_url: Annotated[str, Meta(description="public URL of `vedette notify web`; empty: no links or replies")] = ""
    link_key: Annotated[Secret | None, Meta(description="signs links; at least 32 characters")] = None
    web_host: Annotated[str, Meta(description="address of `vedette notify web`")] = "127.0.0.1"
    web_port: Annotated[Port, Meta(description="port of `vedette notify web`; 0: any free one")] = 8090


class ConsoleSettings(Section, frozen=True):
    """`[console]`: the web pages where the fraud team works."""

    host: Annotated[str, Meta(description="address to listen on")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="port of the pages")] = 8460
    public_url: Annotated[str, Meta(description="public URL of the pages")] = "http://localhost:8460"
    proxies: Annotated[list[str], Meta(description="addresses whose X-Forwarded-For is trusted")] = msgspec.field(
        default_factory=lambda: ["127.0.0.1"]
    )
    name: Annotated[str, Meta(description="name of the institution, shown on every page")] = "Vedette"
    idle_minutes: Annotated[int, Meta(ge=1, description="minutes without a click after which a session ends")] = 30
    session_hours: Annotated[int, Meta(ge=1, le=24, description="hours after which every session ends")] = 12
    claim_minutes: Annotated[int, Meta(ge=1, description="minutes without a look after which a claim lapses")] = 10
    due_hours: Annotated[int, Meta(ge=1, description="hours after its opening at which an incident is due")] = 24
    bulk_limit: Annotated[int, Meta(ge=1, le=1000, description="most incidents that one step may close")] = 100


class AuditSettings(Section, frozen=True):
    """`[audit]`: the log of every step of challenges, call checks and access, and of what people do to incidents."""

    path: Annotated[str, Meta(description="file of JSON lines")] = "var/audit.jsonl"
    anchor: Annotated[
        str, Meta(description="file with the current end of the log, best on another disk; empty: next to the log")
    ] = ""
    key: Annotated[Secret | None, Meta(description="at least 32 bytes; anyone who knows it can forge records")] = None
    sync_ms: Annotated[int, Meta(ge=0, description="milliseconds within which a record is on disk")] = 200


class MfaSettings(Section, frozen=True):
    """`[mfa]`: challenges for customers; SMS go through `[twilio]` and e-mail through `[smtp]`."""

    group: Annotated[str, Meta(description="Kafka consumer group")] = "vedette-mfa"
    host: Annotated[str, Meta(description="address to listen on")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="port of pages and API")] = 8470
    public_url: Annotated[str, Meta(description="public URL of the pages; passkeys are bound to its host")] = (
        "http://localhost:8470"
    )
    proxies: Annotated[list[str], Meta(description="addresses whose X-Forwarded-For is trusted")] = msgspec.field(
        default_factory=lambda: ["127.0.0.1"]
    )
    name: Annotated[str, Meta(description="name of the institution, shown to customers")] = "Vedette"
    keys: Annotated[Secret | None, Meta(description="keyring, the newest key first: `vedette mfa keygen`")] = None
    factors: Annotated[list[FactorName], Meta(description="factors accepted, the preferred one first")] = msgspec.field(
        default_factory=lambda: ["passkey", "totp", "sms"]
    )
    release: Annotated[
        list[str],
        Meta(description="a payment up to one of these amounts (EUR 30.00) is approved if nobody answers"),
    ] = msgspec.field(default_factory=list)
    sms_from: Annotated[str, Meta(description="sender number or messaging service; empty: no SMS to customers")] = ""
    sms_prefixes: Annotated[list[str], Meta(description="prefixes of the only numbers that get an SMS")] = (
        msgspec.field(default_factory=list)
    )
    sms_per_hour: Annotated[int, Meta(ge=1, description="SMS per hour to one number, and to one account")] = 10
    sms_prefix_cap: Annotated[int, Meta(ge=1, description="SMS per hour to the numbers of one prefix")] = 5000
    email_from: Annotated[str, Meta(description="sender of notices; empty: no e-mail to customers")] = ""
    metrics_host: Annotated[str, Meta(description="address of the metrics")] = "127.0.0.1"
    metrics_port: Annotated[Port, Meta(description="port of the metrics; 0: any free one")] = 9468


class MonitorSettings(Section, frozen=True):
    """`[monitor]`: metrics about the deployment's stores and files, and messages about Prometheus' alerts."""

    host: Annotated[str, Meta(description="address to listen on")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="port of metrics, health, readiness and the receiver")] = 9469
    every_s: Annotated[float, Meta(gt=0, description="seconds between two looks")] = 10.0
    audit_every_s: Annotated[float, Meta(gt=0, description="seconds between two verifications of audit logs")] = 300.0
    audit_logs: Annotated[list[str], Meta(description="audit logs to verify; empty: that of `[audit]`")] = (
        msgspec.field(default_factory=list)
    )
    certificates: Annotated[
        list[str], Meta(description="certificate files to watch, beside those that other settings name")
    ] = msgspec.field(default_factory=list)
    folders: Annotated[list[str], Meta(description="folders whose disks are watched")] = msgspec.field(
        default_factory=lambda: ["var"]
    )
    recipients: Annotated[
        list[str], Meta(description="recipients, as the routing names them, of Alertmanager's alerts; empty: none")
    ] = msgspec.field(default_factory=list)
    token: Annotated[Secret | None, Meta(description="what Alertmanager shows to be let in")] = None


class WebhookSettings(Section, frozen=True):
    """`[webhooks]`: events posted to the institution's addresses."""

    group: Annotated[str, Meta(description="Kafka consumer group")] = "vedette-webhooks"
    host: Annotated[str, Meta(description="address of metrics, health and readiness")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="port of metrics, health and readiness; one for each process")] = 9466
    timeout_s: Annotated[float, Meta(gt=0, le=60, description="seconds until an attempt counts as failed")] = 15.0
    ca_file: Annotated[
        str, Meta(description="authority of the receivers' certificates; empty: those of the system")
    ] = ""
    allow_private: Annotated[
        bool, Meta(description="whether plain HTTP and private or loopback addresses are allowed")
    ] = False
    keep_days: Annotated[
        int, Meta(ge=1, description="days for which what was sent can be replayed, and a repeated event is recognised")
    ] = 7


class BridgeSettings(Section, frozen=True):
    """`[bridge]`: another institution's topic, turned into transactions."""

    group: Annotated[str, Meta(description="start of the consumer group, which the topic's name completes")] = (
        "vedette-bridge"
    )
    instance: Annotated[
        str, Meta(description="name in the group, kept over restarts; empty: the name of the machine")
    ] = ""
    batch_max: Annotated[int, Meta(ge=1, le=10_000, description="messages in one Kafka transaction")] = 1000
    metrics_host: Annotated[str, Meta(description="address of metrics, health and readiness")] = "127.0.0.1"
    metrics_port: Annotated[Port, Meta(description="port of metrics, health and readiness; 0: any free one")] = 9467


class SchemaSettings(Section, frozen=True):
    """`[schemas]`: the schema registry of topics in Avro or Protobuf, by Confluent's REST API."""

    url: Annotated[str, Meta(description="address of the registry; empty: none is used")] = ""
    username: Annotated[str, Meta(description="user name or API key, if the registry requires a login")] = ""
    password: Annotated[Secret | None, Meta(description="password or API secret")] = None
    ca_file: Annotated[str, Meta(description="certificate authority that signed the registry's certificate")] = ""
    timeout_s: Annotated[float, Meta(gt=0, description="time-out for a response of the registry")] = 5.0


class Settings(Section, frozen=True):
    """All sections."""

    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    redis: RedisSettings = RedisSettings()
    database: DatabaseSettings = DatabaseSettings()
    smtp: SmtpSettings = SmtpSettings()
    twilio: TwilioSettings = TwilioSettings()
    decisions: DecisionSettings = DecisionSettings()
    identity: IdentitySettings = IdentitySettings()
    cards: CardSettings = CardSettings()
    features: FeatureSettings = FeatureSettings()
    worker: WorkerSettings = WorkerSettings()
    archive: ArchiveSettings = ArchiveSettings()
    registry: RegistrySettings = RegistrySettings()
    incidents: IncidentSettings = IncidentSettings()
    notify: NotifySettings = NotifySettings()
    mfa: MfaSettings = MfaSettings()
    console: ConsoleSettings = ConsoleSettings()
    oidc: OidcSettings = OidcSettings()
    audit: AuditSettings = AuditSettings()
    gateway: GatewaySettings = GatewaySettings()
    iso8583: Iso8583Settings = Iso8583Settings()
    preview: PreviewSettings = PreviewSettings()
    webhooks: WebhookSettings = WebhookSettings()
    monitor: MonitorSettings = MonitorSettings()
    bridge: BridgeSettings = BridgeSettings()
    schemas: SchemaSettings = SchemaSettings()
