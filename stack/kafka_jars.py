"""Apache Kafka's jars, fetched once by Maven into the user's cache."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from vedette.errors import UnavailableError

KAFKA_VERSION = "4.1.0"

# The second dependency is part of Kafka's distribution; Kafka does not log without it.
_POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>vedette</groupId>
  <artifactId>kafka-jars</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-slf4j-impl</artifactId>
      <version>2.24.3</version>
    </dependency>
  </dependencies>
</project>
"""


def default_kafka_home() -> Path:
    """Return the default folder of the jars."""
    return Path.home() / ".cache" / "vedette" / f"kafka-{KAFKA_VERSION}"


def find_jars(kafka_home: Path | None = None) -> Path:
    """Return the folder of the jars.

    Raises:
        UnavailableError: They have not been fetched.
    """
    home = kafka_home or default_kafka_home()
    if not any(home.glob("jars/kafka_*.jar")):
        raise UnavailableError(
            f"Apache Kafka {KAFKA_VERSION} is not in {home}",
            remedy="run scripts/install-test-deps, or `vedette stack fetch-kafka` if Maven is installed",
        )
    return home / "jars"


def fetch_jars(kafka_home: Path | None = None) -> Path:
    """Fetch the jars (46 files, 43 MB) with Maven unless they are there, and return their directory.

    Raises:
        UnavailableError: Maven is missing or could not fetch them; its output is in the message.
    """
    home = kafka_home or default_kafka_home()
    try:
        return find_jars(home)
    except UnavailableError:
        pass  # this function fetches them
    maven = shutil.which("mvn")
    if maven is None:
        raise UnavailableError(
            "Apache Kafka is fetched by Maven, and there is no mvn on PATH", remedy="run scripts/install-test-deps"
        )
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home) as scratch:  # next to the jars, so that they appear atomically
        (Path(scratch) / "pom.xml").write_text(_POM, encoding="utf-8")
        done = subprocess.run(
            [maven, "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=jars", "-DincludeScope=runtime"],
            cwd=scratch,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise UnavailableError(f"Maven cannot fetch Apache Kafka {KAFKA_VERSION}:\n{done.stdout.strip()}")
        shutil.rmtree(home / "jars", ignore_errors=True)
        (Path(scratch) / "jars").replace(home / "jars")
    return find_jars(home)
