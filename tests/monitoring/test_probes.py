"""What the monitor says about stores, groups and files."""

import datetime as dt
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from access.audit import open_audit
from adapters.database import open_database
from adapters.kafka_producer import KafkaProducer
from adapters.kafka_reader import commit_offsets
from adapters.redis import connect
from monitoring import files, redis_server
from monitoring.consumer_groups import ConsumerGroups, Group, groups_of
from monitoring.probes import Probe, Probes
from monitoring.service import probes_of
from tests.certificates import certificate
from tests.conftest import Dial
from vedette.clock import SystemClock
from vedette.errors import UnavailableError
from vedette.settings import AuditSettings, DatabaseSettings, MonitorSettings, Settings
from vedette.settings_base import Secret
from vedette.topics import Name


def values(found: Any) -> dict[tuple[str, ...], float]:
    """Return samples by name and label values."""
    return {
        (sample.name, *sample.labels.values()): sample.value for metric in found for sample in metric.samples
    }  # fmt: skip


def test_a_failed_probe_says_so_and_shows_no_old_values(dial: Dial, log: Any, lines: list[dict[str, Any]]) -> None:
    """Values of yesterday would hide that nobody looks; the reason is logged once, and the return too."""
    fails = [False, True, True, False]

    def look() -> Any:
        if fails.pop(0):
            raise UnavailableError("it is away")
        return redis_server.of_info({})

    probes = Probes([Probe("redis", look, 10)], dial, log)
    seen = []
    for _ in range(4):
        probes.step()
        probes.step()  # not due yet
        seen.append((values(probes.collect())["vedette_probe_up", "redis"], len(list(probes.collect()))))
        dial.now += 10_000
    assert seen == [(1, 5), (0, 1), (0, 1), (1, 5)]
    assert [line["event"] for line in lines] == ["probe failed", "probe works again"]


def test_a_group_is_behind_by_messages_and_by_the_age_of_the_oldest(settings: Settings) -> None:
    """A service that never ran is not behind; one that ran is, also while it does not run, until it has everything."""
    alerts = Group("notify", settings.notify.group, Name.ALERTS)
    topic = settings.topics.prefix + Name.ALERTS
    clock = Dial(SystemClock().now_ms() + 3_600_000)
    groups = ConsumerGroups(settings, clock)
    assert alerts in groups_of(settings)
    producer = KafkaProducer(settings.kafka)
    for number in range(3):
        producer.send(topic, b"a", b"x" * (number + 1))
    producer.flush()
    assert groups.lag(alerts) is None
    partitions = range(settings.topics.partitions)
    commit_offsets(settings.kafka, settings.notify.group, topic, dict.fromkeys(partitions, 0))
    lag = groups.lag(alerts)
    assert lag is not None
    assert lag.messages == 3
    assert 3_000 < lag.seconds < 7_000
    commit_offsets(settings.kafka, settings.notify.group, topic, dict.fromkeys(partitions, 3))
    assert groups.lag(alerts) == (0, 0.0)


def test_redis_shows_memory_and_persistence(settings: Settings) -> None:
    """A real Redis with an append-only file persists and evicts nothing; without a limit, the machine's memory is."""
    found = values(redis_server.look(connect(settings.redis)))
    assert found["vedette_redis_persists", "redis"] == 1
    assert found["vedette_redis_evicts", "redis"] == 0
    assert 0 < found["vedette_redis_memory_used_bytes", "redis"] < found["vedette_redis_memory_max_bytes", "redis"]


def test_a_changed_or_vanished_audit_log_is_seen(tmp_path: Path) -> None:
    """One changed byte breaks the chain; a log that is gone although its anchor is there is broken as well."""
    own = AuditSettings(path=str(tmp_path / "audit.jsonl"), key=Secret("k" * 32))
    logs = files.audit_logs(Settings(audit=own))
    assert values(files.look_at_audit(logs)) == {}
    with open_audit(own, SystemClock(), "test") as audit:
        audit.record("one", "subject:1", {})
    assert values(files.look_at_audit(logs)) == {
        ("vedette_audit_intact", own.path): 1, ("vedette_audit_records", own.path): 1
    }  # fmt: skip
    path = Path(own.path)
    path.write_text(path.read_text().replace("subject:1", "subject:2"))
    assert values(files.look_at_audit(logs))["vedette_audit_intact", own.path] == 0
    path.unlink()
    assert values(files.look_at_audit(logs)) == {("vedette_audit_intact", own.path): 0}


def test_the_first_certificate_to_end_counts(tmp_path: Path) -> None:
    """A chain ends with its first certificate; a file of the settings is named by its setting."""
    one, _ = certificate(tmp_path, "one")
    two, _ = certificate(tmp_path, "two")
    chain = tmp_path / "chain.pem"
    chain.write_bytes((tmp_path / "one.pem").read_bytes() + (tmp_path / "two.pem").read_bytes())
    settings = Settings(monitor=MonitorSettings(certificates=[str(chain)]))
    settings = msgspec.structs.replace(
        settings, gateway=msgspec.structs.replace(settings.gateway, certificate=str(tmp_path / "two.pem"))
    )
    found = values(files.look_at_certificates(files.certificates(settings)))
    name = "vedette_certificate_not_after_timestamp_seconds"
    assert found[name, str(chain)] == min(one.not_valid_after_utc, two.not_valid_after_utc).timestamp()
    assert found[name, "gateway.certificate"] > dt.datetime.now(dt.UTC).timestamp()


def test_all_probes_work_on_a_running_deployment(settings: Settings, tmp_path: Path, log: Any) -> None:
    """Each probe reaches its subject, and the result is in Prometheus' text format."""
    database = DatabaseSettings(url=f"sqlite:///{tmp_path / 'alerts.sqlite'}")
    audit = AuditSettings(path=str(tmp_path / "audit.jsonl"), key=Secret("k" * 32))
    own = MonitorSettings(folders=[str(tmp_path)])
    settings = msgspec.structs.replace(settings, database=database, audit=audit, monitor=own)
    engine, clock = open_database(database), SystemClock()
    probes = Probes(probes_of(settings, connect(settings.redis), engine, clock), clock, log)
    probes.step()
    engine.dispose()
    assert probes.problems == {}
    registry = CollectorRegistry()
    registry.register(probes)
    text = generate_latest(registry).decode()
    for name in ("redis", "kafka", "database", "certificates", "disks", "audit"):
        assert f'vedette_probe_up{{probe="{name}"}} 1.0' in text
    assert f'vedette_disk_free_bytes{{folder="{tmp_path}"}}' in text
    assert "vedette_incidents_open 0.0" in text


@pytest.mark.parametrize("lost", ["redis", "kafka"])
def test_a_server_that_is_away_is_one_failed_probe(settings: Settings, tmp_path: Path, log: Any, lost: str) -> None:
    """The others go on."""
    replaced = msgspec.structs.replace
    database = DatabaseSettings(url=f"sqlite:///{tmp_path / 'alerts.sqlite'}")
    settings = replaced(settings, database=database, kafka=replaced(settings.kafka, timeout_s=2.0))
    if lost == "redis":
        settings = replaced(settings, redis=replaced(settings.redis, url="redis://127.0.0.1:1/0"))
    else:
        settings = replaced(settings, kafka=replaced(settings.kafka, bootstrap_servers="127.0.0.1:1"))
    engine, clock = open_database(database), SystemClock()
    probes = Probes(probes_of(settings, connect(settings.redis), engine, clock), clock, log)
    probes.step()
    engine.dispose()
    assert list(probes.problems) == [lost]
