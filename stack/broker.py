"""The two brokers: a small one from a Python package, and Apache Kafka."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from stack.broker_security import BrokerSecurity
from stack.kafka_jars import find_jars
from stack.server import Server
from vedette.errors import UnavailableError

BrokerKind = Literal["embedded", "apache"]


class Broker(Server):
    """A server that speaks the Kafka protocol."""

    def ping(self, timeout_s: float) -> None:
        """Request the cluster's metadata."""
        client = AdminClient({"bootstrap.servers": self.address, "log_level": 0, "reconnect.backoff.max.ms": 100})
        try:
            client.list_topics(timeout=timeout_s)
        except KafkaException as error:
            raise UnavailableError(f"{self.name} does not answer on {self.address}: {error}") from error


class EmbeddedBroker(Broker):
    """noida-db with only its Kafka service: one binary, ready in a fraction of a second.

    It holds everything in memory and rewrites its snapshot `data/kafka.json` about once a second while something
    changes (measured on version 0.2.3). A stop loses nothing, but a kill loses messages acknowledged since the last
    snapshot, so tests of broker crashes need Apache Kafka.
    """

    name = "the embedded broker"

    def command(self) -> list[str]:
        """Return the package's binary, as its Python wrapper would come between this process and the server."""
        spec = find_spec("noida_db")
        binary = Path(spec.origin).with_name("noida-db") if spec and spec.origin else None
        if binary is None or not binary.is_file():
            raise UnavailableError(
                "the embedded broker is not installed",
                remedy="pip install 'vedette[stack]' brings noida-db, or use --broker apache",
            )
        if not os.access(binary, os.X_OK):  # a wheel may lack the executable bit
            binary.chmod(0o755)
        return [
            *(str(binary), "start", "--only", "kafka", "--host", "127.0.0.1"),
            *("--kafka-port", str(self.port), "--data-dir", str(self.directory / "data")),
        ]


class ApacheBroker(Broker):
    """Apache Kafka as broker and controller in one Java process (KRaft combined mode).

    Args:
        directory: Folder of its data, configuration and log.
        port: Port for clients.
        controller_port: Port of the controller.
        hold: File descriptors that its process keeps open.
        kafka_home: Folder of the jars from `vedette stack fetch-kafka`; None for the default.
        security: Further listeners with TLS and logins; None for the plain one alone.
    """

    name = "Apache Kafka"
    ready_within_s = 60.0

    def __init__(
        self,
        directory: Path,
        port: int,
        controller_port: int,
        hold: Sequence[int] = (),
        kafka_home: Path | None = None,
        security: BrokerSecurity | None = None,
    ) -> None:
        super().__init__(directory, port, hold)
        self._security = security
        self._controller = f"127.0.0.1:{controller_port}"
        self._kafka_home = kafka_home

    def command(self) -> list[str]:
        """Return Java with Kafka's main class; a new data directory is formatted first."""
        jars = find_jars(self._kafka_home)
        java = shutil.which("java")
        if java is None:
            raise UnavailableError(
                "Apache Kafka needs Java 17 or newer, and there is no java on PATH",
                remedy="run scripts/install-test-deps",
            )
        logging = self.directory / "log4j2.properties"
        logging.write_text(_LOGGING, encoding="utf-8")
        properties = self.directory / "server.properties"
        data = self.directory / "data"
        security = self._security
        listeners, protocols, further, options, users = "", "", "", list[str](), list[str]()
        if security is not None:
            security.prepare()
            listeners = "".join(f",{name}://{address}" for name, address in security.listeners.items())
            protocols, further = f",{security.protocols}", security.properties
            options, users = security.java_options, security.scram_users
        text = _PROPERTIES.format(
            broker=self.address, controller=self._controller, data=data, listeners=listeners, protocols=protocols
        )
        properties.write_text(text + further, encoding="utf-8")
        run = [
            *(java, "-Xmx768m", "-XX:+UseSerialGC", "-Djava.awt.headless=true", *options),
            *(f"-Dlog4j2.configurationFile={logging}", "-cp", f"{jars}/*"),
        ]
        if not (data / "meta.properties").exists():
            self._format([*run, "kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c", str(properties), *users])
        return [*run, "kafka.Kafka", str(properties)]

    def _format(self, command: list[str]) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise UnavailableError(
                f"Kafka's storage tool cannot format {self.directory}: {(done.stderr or done.stdout).strip()}"
            )


# A single-node cluster does not need a unique name, as clusters are not connected.
_CLUSTER_ID = "VedetteLocalStack00000"

# One replica of everything and few partitions for internal topics, as there is one node; a consumer group starts at
# once instead of waiting three seconds for more members, and a killed broker may return after three seconds instead of
# nine.
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{controller}
listeners=PLAINTEXT://{broker},CONTROLLER://{controller}{listeners}
advertised.listeners=PLAINTEXT://{broker}{listeners}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT{protocols}
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
"""

_LOGGING = """\
rootLogger.level=INFO
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %p %m (%c{1})%n
"""
