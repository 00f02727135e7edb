"""The background loops: reading decisions and the policy in force from the log, and watching broker and worker."""

import asyncio
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

import msgspec
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from adapters.http_server import Readiness
from adapters.kafka_client import client_config
from adapters.kafka_consumer import TopicFollower
from adapters.kafka_reader import TopicReader, committed_offsets
from adapters.yaml_document import Document
from gateway.decision_gateway import DecisionGateway
from vedette import control
from vedette.clock import Clock
from vedette.errors import UnavailableError, VedetteError
from vedette.fallback import Fallback
from vedette.settings import Settings
from vedette.topics import Name

READING = "reading decisions"
WATCHING = "watching the broker"

_AT_ONCE = 1_000
_TAKE_S = 0.1
_IDLE_S = 1.0
"""Seconds without messages after which the reader is at the end, as offsets have gaps."""
_LOOK_S = 1.0
_TOPICS_EVERY_S = 5.0
_SUSPICIOUS_S = 1.0
"""Age of a payment in seconds from which the worker's offsets are checked."""


class PolicyFallback(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a policy that the gateway reads; the worker checks the rest."""

    name: str
    version: int
    fallback: Fallback = Fallback()


def read_fallback(path: Path) -> PolicyFallback:
    """Return the fallback of a policy file.

    Raises:
        SettingsError: The file cannot be read, or its fallback has a mistake.
    """
    return Document(path, remedy="docs/policy.md describes the form").read(PolicyFallback)


class Loops:
    """The background loops, each in a separate thread.

    Args:
        settings: All of them.
        gateway: The gateway to feed, in its event loop.
        readiness: Records failing parts.
        clock: The clock.
        log: A structlog logger.
        connect: Connects the publisher to a topic.
    """

    def __init__(
        self, settings: Settings, gateway: DecisionGateway, readiness: Readiness, clock: Clock, log: Any,
        connect: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._settings, self._gateway, self._readiness = settings, gateway, readiness
        self._clock, self._log, self._connect = clock, log, connect
        self._started = Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._control = settings.topics.prefix + Name.CONTROL
        readiness.wait(READING, "the decisions of the look-back have not been read yet")

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Name the event loop of the gateway."""
        self._loop = loop
        self._started.set()

    def read(self, stop: Event) -> None:
        """Read the decisions of the look-back and then every new one, until `stop` is set.

        Raises:
            UnavailableError: The broker or a topic is not there.
        """
        while not self._started.wait(_TAKE_S):
            if stop.is_set():
                return
        self._connect(self._settings.topics.prefix + Name.TRANSACTIONS)
        start, ends = self._positions()
        # A fetch returns as soon as there is something; how long it waits for nothing does not matter.
        follower = TopicFollower(
            self._settings.kafka, start, self._log, tuning={"fetch.wait.max.ms": 50}, throttled=True
        )
        quiet_since = time.monotonic()
        try:
            while not stop.is_set():
                messages = follower.take(_AT_ONCE, _TAKE_S)
                if messages:
                    quiet_since = time.monotonic()
                    self._hand_over(messages)
                self._report(follower.problem)
                if not self._gateway.health.caught_up and not follower.problem:
                    done = all(follower.next_offsets[place] >= end for place, end in ends.items())
                    if done or time.monotonic() - quiet_since > _IDLE_S:
                        self._call(self._caught_up)
        finally:
            # Whatever ended it, what is published until it reads again must be read from the look-back.
            self._call(self._stopped)
            follower.close()

    def watch(self, stop: Event) -> None:
        """Look for missing topics, and how far the worker has come, until `stop` is set."""
        admin = AdminClient({**client_config(self._settings.kafka), "log_level": 0})
        looked = 0.0
        while not stop.wait(_LOOK_S):
            if time.monotonic() - looked > _TOPICS_EVERY_S:
                looked = time.monotonic()
                self._look_for_topics(admin)
            if (partitions := self._suspicious()) and not self._gateway.health.broker:
                worker, topic = self._settings.worker.group, self._settings.topics.prefix + Name.TRANSACTIONS
                try:
                    committed = committed_offsets(self._settings.kafka, worker, topic, partitions)
                except UnavailableError:
                    continue  # the reader says so
                self._call(partial(self._gateway.backlog.passed, committed))

    def _suspicious(self) -> list[int]:
        """Return the partitions that pend, if anything has for long; asked in the event loop, which owns them."""

        async def ask() -> list[int]:
            backlog = self._gateway.backlog
            self._gateway.measure()
            return backlog.partitions() if backlog.age_s(time.monotonic()) > _SUSPICIOUS_S else []

        if self._loop is None or self._loop.is_closed():
            return []
        try:
            return asyncio.run_coroutine_threadsafe(ask(), self._loop).result(timeout=10.0)
        except (TimeoutError, RuntimeError):  # the process is ending
            return []

    def _look_for_topics(self, admin: AdminClient) -> None:
        try:
            present = admin.list_topics(timeout=self._settings.kafka.timeout_s).topics
        except KafkaException:
            self._readiness.wait(WATCHING, "the broker does not answer")
            return
        prefix = self._settings.topics.prefix
        missing = [prefix + name for name in (Name.TRANSACTIONS, Name.DECISIONS) if prefix + name not in present]
        if missing:
            self._readiness.wait(WATCHING, f"topic {missing[0]} is missing")
        else:
            self._readiness.works(WATCHING)
        self._gateway.health.missing_topic = missing[0] if missing else ""

    def _positions(self) -> tuple[dict[tuple[str, int], int], dict[tuple[str, int], int]]:
        """Return where to start and where the topics end now, by topic and partition."""
        since = self._clock.now_ms() - self._settings.gateway.lookback_s * 1000
        start: dict[tuple[str, int], int] = {}
        ends: dict[tuple[str, int], int] = {}
        for name, published_from in ((Name.DECISIONS, since), (Name.CONTROL, 0)):
            with closing(TopicReader(self._settings, name, published_from)) as reader:
                topic = self._settings.topics.prefix + name
                for partition, offsets in reader.offsets.items():
                    start[topic, partition], ends[topic, partition] = offsets.start, offsets.stop
        return start, ends

    def _hand_over(self, messages: list[Any]) -> None:
        decisions: list[bytes] = []
        for message in messages:
            value = message.value()
            if message.topic() == self._control:
                self._take_control(message.key() or b"", value)
            elif value is not None:
                decisions.append(value)
        if decisions:
            self._call(partial(self._gateway.take, decisions))

    def _take_control(self, key: bytes, value: bytes | None) -> None:
        """Put the fallback of a policy into force that the workers are told to use."""
        if key != control.POLICY.encode() or value is None:
            return
        try:
            record = control.decode(control.POLICY, value)
            assert isinstance(record, control.PolicyRecord)  # noqa: S101, what the key says
            with TemporaryDirectory(prefix="vedette-gateway-") as folder:
                path = Path(folder) / control.POLICY_FILE
                path.write_text(record.files[control.POLICY_FILE], encoding="utf-8")
                policy = read_fallback(path)
        except (VedetteError, KeyError) as error:
            self._log.error("policy record not taken", reason=str(error))
            return
        self._call(partial(self._gateway.use, policy.fallback, record.name))

    def _caught_up(self) -> None:
        if self._gateway.health.caught_up:
            return
        self._gateway.health.caught_up = True
        self._log.info("decisions of the look-back read", remembered=len(self._gateway.recent))

    def _stopped(self) -> None:
        self._gateway.health.caught_up = False

    def _report(self, reason: str) -> None:
        self._gateway.health.broker = reason
        if reason:
            self._readiness.wait(READING, reason)
        elif self._gateway.health.caught_up:
            self._readiness.works(READING)

    def _call(self, work: Callable[[], None]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(work)
