"""Health checks: everything that Vedette depends on is available, and configured not to lose data."""

from collections.abc import Callable
from typing import Any

import msgspec
import redis
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec
from redis.cluster import RedisCluster
from redis.exceptions import RedisClusterException

from stack.topic_copy import keys_placed
from stack.topics import admin_client, diff, unavailable
from vedette.clock import Clock
from vedette.errors import UnavailableError, VedetteError
from vedette.settings import RedisSettings, Settings
from vedette.topics import topics

OLDEST_REDIS = (6, 2)
CLOCK_TOLERANCE_MS = 2_000
_TIMEOUT_S = 5.0

Connect = Callable[[RedisSettings], Any]
"""Creates a client for the kind of Redis in the settings."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one check: `detail` describes the observation, `remedy` the solution of a problem."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def examine(name: str, look: Callable[[], str]) -> Check:
    """Run a check, which returns its observation or raises a VedetteError, and return its result."""
    try:
        return Check(name=name, ok=True, detail=look())
    except VedetteError as error:
        return Check(name=name, ok=False, detail=error.args[0], remedy=error.remedy)


def checks(settings: Settings, clock: Clock, connect: Connect) -> list[Check]:
    """Return the results of all checks of the broker, its topics, Redis and the clocks; nothing is written.

    For a server that does not answer, this is the only result.
    """
    found = [examine("broker", lambda: broker(settings))]
    if found[-1].ok:
        found += [
            examine("topics", lambda: topics_present(settings)),
            examine("clock against messages", lambda: message_clock(settings, clock)),
        ]
        if found[1].ok:
            found.append(examine("keys against partitions", lambda: keys_placed(settings)))
    try:
        with connect(settings.redis) as client:
            found += redis_checks(client, clock)
    except VedetteError as error:
        found.append(Check(name="redis", ok=False, detail=error.args[0], remedy=error.remedy))
    return found


def redis_checks(client: Any, clock: Clock) -> list[Check]:
    """Return the results of all checks of a Redis of any kind."""
    found = [examine("redis", lambda: redis_answers(client))]
    if found[-1].ok:
        found += [
            examine("redis version", lambda: redis_version(client)),
            examine("redis persistence", lambda: redis_persistence(client)),
            examine("redis eviction", lambda: redis_eviction(client)),
            examine("clock against redis", lambda: redis_clock(client, clock)),
        ]
    return found


def broker(settings: Settings) -> str:
    """Check that the broker answers."""
    try:
        cluster = admin_client(settings.kafka).list_topics(timeout=_TIMEOUT_S)
    except KafkaException as error:
        raise unavailable(settings.kafka, error) from error
    return f"{settings.kafka.bootstrap_servers} answers, {len(cluster.brokers)} broker(s)"


def topics_present(settings: Settings) -> str:
    """Check that all topics are as configured."""
    changes = diff(settings, timeout_s=_TIMEOUT_S)
    if changes:
        left = [change for change in changes if change.note]
        raise VedetteError(
            "; ".join(map(str, changes)),
            remedy="see the reasons given" if len(left) == len(changes) else "run `vedette topics apply`",
        )
    return f"all {len(topics(settings.topics))} as configured"


def redis_answers(client: Any) -> str:
    """Check that Redis answers."""
    _ask(client.ping)
    return "answers"


def redis_version(client: Any) -> str:
    """Check that Redis is new enough, on every node."""
    versions = sorted({str(info["redis_version"]) for info in _infos(client, "server")})
    for version in versions:
        if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_REDIS:
            raise VedetteError(f"Redis {version} is too old", remedy=f"use {'.'.join(map(str, OLDEST_REDIS))} or newer")
    return f"version {', '.join(versions)}"


def redis_persistence(client: Any) -> str:
    """Check that state survives a crash of Redis: its append-only file is on and writable."""
    for info in _infos(client, "persistence"):
        if not info["aof_enabled"]:
            raise VedetteError(
                "the append-only file is off, so a crash of Redis loses state",
                remedy="set `appendonly yes` in redis.conf",
            )
        if info["aof_last_write_status"] != "ok":
            raise VedetteError("the append-only file cannot be written", remedy="check the disk that Redis writes to")
    return "append-only file on"


def redis_eviction(client: Any) -> str:
    """Check that a full Redis refuses writes instead of evicting state."""
    for info in _infos(client, "memory"):
        if (policy := info["maxmemory_policy"]) != "noeviction":
            raise VedetteError(
                f"maxmemory-policy is {policy}, so a full Redis silently drops state",
                remedy="set `maxmemory-policy noeviction` in redis.conf",
            )
    return "noeviction"


def redis_clock(client: Any, clock: Clock) -> str:
    """Check that the clocks of this machine and Redis agree, within the duration of the request."""
    before = clock.now_ms()
    seconds, microseconds = _ask(client.time)
    after = clock.now_ms()
    redis_ms = seconds * 1000 + microseconds // 1000
    ahead = max(before - redis_ms, 0) or min(after - redis_ms, 0)
    if abs(ahead) > CLOCK_TOLERANCE_MS:
        raise VedetteError(
            f"this machine's clock is {abs(ahead)} ms {'ahead of' if ahead > 0 else 'behind'} that of Redis",
            remedy="synchronise the clocks of both machines, for example with chrony",
        )
    return f"{ahead} ms apart"


def message_clock(settings: Settings, clock: Clock) -> str:
    """Check that no message of the topics is dated in the future."""
    client = admin_client(settings.kafka)
    own = {topic.name for topic in topics(settings.topics)}
    try:
        present = client.list_topics(timeout=_TIMEOUT_S).topics
        asked = {
            TopicPartition(name, partition): OffsetSpec.max_timestamp()
            for name in sorted(own & present.keys())
            for partition in present[name].partitions
        }
        answers = client.list_offsets(asked, request_timeout=_TIMEOUT_S) if asked else {}
        latest = [(answer.result().timestamp, place.topic, place.partition) for place, answer in answers.items()]
    except KafkaException as error:
        raise unavailable(settings.kafka, error) from error
    timestamp, topic, partition = max(latest, default=(-1, "", 0))
    if timestamp < 0:
        return "no messages yet"
    ahead = timestamp - clock.now_ms()
    if ahead > CLOCK_TOLERANCE_MS:
        raise VedetteError(
            f"the newest message of {topic} partition {partition} is dated {ahead} ms ahead of this machine's clock",
            remedy="synchronise the clocks of this machine, the producers and the brokers, for example with chrony",
        )
    return "no message dated ahead of this machine's clock"


def _infos(client: Any, section: str) -> list[dict[str, Any]]:
    """Return a section of INFO of every primary, which managed services answer even if they forbid CONFIG GET."""
    if not isinstance(client, RedisCluster):
        return [_ask(lambda: client.info(section))]
    nodes = client.get_primaries()  # type: ignore[no-untyped-call]
    return [_ask(lambda: client.info(section, target_nodes=node)) for node in nodes]  # noqa: B023 — asked at once


def _ask(question: Callable[[], Any]) -> Any:
    try:
        return question()
    except (redis.RedisError, RedisClusterException) as error:
        raise UnavailableError(
            f"Redis does not answer: {error}",
            remedy="check [redis] url; `vedette stack up` starts a Redis on this machine",
        ) from error
