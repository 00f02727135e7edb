"""The two brokers: a small one from the package index, and Apache Kafka itself."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from stack.kafka_jars import find_jars
from stack.server import Server
from vedette.errors import UnavailableError

BrokerKind = Literal["embedded", "apache"]


class Broker(Server):
    """Anything that speaks the Kafka protocol."""

    def ping(self, timeout_s: float) -> None:
        """Ask for the cluster's metadata."""
        client = AdminClient({"bootstrap.servers": self.address, "log_level": 0, "reconnect.backoff.max.ms": 100})
        try:
            client.list_topics(timeout=timeout_s)
        except KafkaException as error:
            raise UnavailableError(f"{self.name} does not answer on {self.address}: {error}") from error


class EmbeddedBroker(Broker):
    """noida-db with nothing but its Kafka service: one binary, up in a fraction of a second.

    It holds everything in memory and rewrites its snapshot `data/kafka.json` about once a second while something
    changes (measured on version 0.2.3). A stop loses nothing, but a kill loses what was acknowledged since the last
    snapshot, so a test of what happens when a broker crashes needs Apache Kafka.
    """

    name = "the embedded broker"

    def command(self) -> list[str]:
        """The package's binary itself: its Python wrapper would stand between us and the server's process."""
        spec = find_spec("noida_db")
        binary = Path(spec.origin).with_name("noida-db") if spec and spec.origin else None
        if binary is None or not binary.is_file():
            raise UnavailableError(
                "the embedded broker is not installed",
                remedy="pip install 'vedette[stack]' brings noida-db, or use --broker apache",
            )
        if not os.access(binary, os.X_OK):  # a wheel may come without the executable bit
            binary.chmod(0o755)
        return [
            *(str(binary), "start", "--only", "kafka", "--host", "127.0.0.1"),
            *("--kafka-port", str(self.port), "--data-dir", str(self.directory / "data")),
        ]


class ApacheBroker(Broker):
    """Apache Kafka as broker and controller in one Java process (KRaft combined mode).

    Args:
        directory: Where its data, configuration and log live.
        port: The port clients connect to.
        controller_port: The port it speaks to itself on.
        hold: File descriptors that its process keeps open.
        kafka_home: Where `vedette stack fetch-kafka` put the jars; None for the usual place.
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
    ) -> None:
        super().__init__(directory, port, hold)
        self._controller = f"127.0.0.1:{controller_port}"
        self._kafka_home = kafka_home

    def command(self) -> list[str]:
        """Java with Kafka's own main class; a new data directory is formatted first."""
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
        properties.write_text(
            _PROPERTIES.format(broker=self.address, controller=self._controller, data=data), encoding="utf-8"
        )
        run = [
            *(java, "-Xmx768m", "-XX:+UseSerialGC", "-Djava.awt.headless=true"),
            *(f"-Dlog4j2.configurationFile={logging}", "-cp", f"{jars}/*"),
        ]
        if not (data / "meta.properties").exists():
            self._format([*run, "kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c", str(properties)])
        return [*run, "kafka.Kafka", str(properties)]

    def _format(self, command: list[str]) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise UnavailableError(
                f"Kafka's storage tool cannot format {self.directory}: {(done.stderr or done.stdout).strip()}"
            )


# A cluster of one node needs no name that differs from that of another: nothing connects the two.
_CLUSTER_ID = "VedetteLocalStack00000"

# One copy of everything, and few partitions for the broker's own topics, as there is one node; a consumer group
# starts at once instead of waiting three seconds for more members, and a killed broker may come back after three
# seconds instead of nine.
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{controller}
listeners=PLAINTEXT://{broker},CONTROLLER://{controller}
advertised.listeners=PLAINTEXT://{broker}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
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
