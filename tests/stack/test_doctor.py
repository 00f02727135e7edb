from pathlib import Path

import msgspec
import pytest
import redis
from confluent_kafka import Producer

from adapters.kafka_client import client_config
from adapters.redis import connect
from stack.doctor import Check, checks, examine
from stack.process import free_ports
from stack.redis_server import RedisServer
from stack.state import StackState
from stack.topics import apply
from tests.conftest import SettingsFor
from vedette import SystemClock
from vedette.clock import HOUR
from vedette.errors import ModelError
from vedette.settings import KafkaSettings, RedisSettings, Settings
from vedette.topics import Name


class ShiftedClock:
    """The machine's clock, shifted by some milliseconds."""

    def __init__(self, shift_ms: int) -> None:
        self.shift_ms = shift_ms

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC, and the shift."""
        return SystemClock().now_ms() + self.shift_ms


@pytest.fixture
def settings(any_stack: StackState, topic_prefix: str, settings_for: SettingsFor) -> Settings:
    """Settings of a stack with all topics."""
    settings = settings_for(any_stack, topic_prefix)
    apply(settings)
    return settings


def problems(found: list[Check]) -> dict[str, str]:
    """Return names and details of the problems."""
    return {check.name: check.detail for check in found if not check.ok}


def test_a_good_stack_has_no_problem(settings: Settings) -> None:
    """With topics applied, everything about broker, Redis and clocks is found in order."""
    found = checks(settings, SystemClock(), connect)
    assert problems(found) == {}
    assert [check.name for check in found] == [
        "broker",
        "topics",
        "clock against messages",
        "keys against partitions",
        "redis",
        "redis version",
        "redis persistence",
        "redis eviction",
        "clock against redis",
    ]


def test_a_missing_topic_is_found(any_stack: StackState, topic_prefix: str, settings_for: SettingsFor) -> None:
    """Where topics are missing, that is the only problem, and the remedy names the command."""
    found = checks(settings_for(any_stack, topic_prefix), SystemClock(), connect)
    assert list(problems(found)) == ["topics"]
    (check,) = (check for check in found if not check.ok)
    assert f"{topic_prefix}transactions: is missing" in check.detail
    assert "vedette topics apply" in check.remedy


def test_a_redis_that_is_away_is_found(settings: Settings) -> None:
    """A Redis that does not answer is one problem with a remedy, not several."""
    away = RedisSettings(url=f"redis://127.0.0.1:{free_ports(1)[0]}/0", timeout_s=1)
    found = checks(msgspec.structs.replace(settings, redis=away), SystemClock(), connect)
    assert list(problems(found)) == ["redis"]


def test_a_broker_that_is_away_is_found(settings: Settings) -> None:
    """A broker that does not answer is one problem with a remedy, not several."""
    away = KafkaSettings(bootstrap_servers=f"127.0.0.1:{free_ports(1)[0]}")
    found = checks(msgspec.structs.replace(settings, kafka=away), SystemClock(), connect)
    assert list(problems(found)) == ["broker"]


def test_a_password_is_never_shown(settings: Settings) -> None:
    """The finding about a Redis that is away does not repeat the password of its URL."""
    away = RedisSettings(url=f"redis://:hunter2@127.0.0.1:{free_ports(1)[0]}/0", timeout_s=1)
    found = checks(msgspec.structs.replace(settings, redis=away), SystemClock(), connect)
    assert "hunter2" not in msgspec.json.encode(found).decode()


@pytest.mark.parametrize(("shift_ms", "words"), [(60_000, "ahead of"), (-60_000, "behind")])
def test_a_wrong_clock_is_found(settings: Settings, shift_ms: int, words: str) -> None:
    """A clock a minute off is reported with its direction."""
    assert words in problems(checks(settings, ShiftedClock(shift_ms), connect))["clock against redis"]


def test_a_message_from_the_future_is_found(settings: Settings) -> None:
    """A message dated half an hour ahead is reported with its topic."""
    producer = Producer(client_config(settings.kafka))
    name = settings.topics.prefix + Name.TRANSACTIONS
    producer.produce(name, b"{}", timestamp=SystemClock().now_ms() + HOUR // 2)
    assert producer.flush(20) == 0
    assert name in problems(checks(settings, SystemClock(), connect))["clock against messages"]


def test_a_forgetful_redis_is_found(
    embedded_stack: StackState, topic_prefix: str, settings_for: SettingsFor, tmp_path: Path
) -> None:
    """Without append-only file, or with eviction, Redis is a problem although it answers."""
    settings = settings_for(embedded_stack, topic_prefix)
    apply(settings)
    server = RedisServer("embedded", tmp_path, free_ports(1)[0])
    server.start()
    try:
        with redis.Redis.from_url(server.url) as client:
            client.config_set("appendonly", "no")
            client.config_set("maxmemory-policy", "allkeys-lru")
        found = problems(
            checks(msgspec.structs.replace(settings, redis=RedisSettings(url=server.url)), SystemClock(), connect)
        )
    finally:
        server.stop()
    assert list(found) == ["redis persistence", "redis eviction"]


def test_a_bad_redis_address_is_found(settings: Settings) -> None:
    """A URL that is none is a finding, not a crash."""
    wrong = msgspec.structs.replace(settings, redis=RedisSettings(url="localhost:6379"))
    assert "url" in problems(checks(wrong, SystemClock(), connect))["redis"]


def test_an_error_becomes_a_finding_with_its_remedy() -> None:
    """The error of a check is split into the problem and the remedy."""

    def look() -> str:
        raise ModelError("model folder x is missing", remedy="train one")

    assert examine("model", look) == Check(
        name="model", ok=False, detail="model folder x is missing", remedy="train one"
    )
