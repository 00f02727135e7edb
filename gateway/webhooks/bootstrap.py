"""Wiring of webhooks from settings: the process that relays and sends, and what the command line does."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from random import SystemRandom
from threading import Event
from typing import Any

from sqlalchemy import Engine

from access.audit import OccasionalAudit
from access.keyring import DeferredKeyring, Keyring, keyring_of
from access.ports import AuditSink
from adapters.database import database_errors, open_database
from adapters.http_server import Readiness, serve
from adapters.kafka_consumer import GroupConsumer
from adapters.logs import service_log
from adapters.metrics_app import metrics_app
from gateway.webhooks.endpoints import Endpoints
from gateway.webhooks.events import TOPICS
from gateway.webhooks.metrics import WebhookMetrics
from gateway.webhooks.relay import TopicRelay
from gateway.webhooks.sender import WebhookSender
from vedette.clock import Clock, SystemClock
from vedette.settings import Settings
from vedette.topics import Name

SENDING = "sending"
_OPERATOR = "operator"
_AT_ONCE = 500


def run(settings: Settings) -> None:
    """Relay and send until SIGTERM or SIGINT; call it from the main thread.

    Raises:
        SettingsError: The keyring is missing.
        StateError: The database does not answer at the start.
    """
    clock, log, own = SystemClock(), service_log("webhooks"), settings.webhooks
    keyring, engine = keyring_of(settings.mfa), open_database(settings.database)
    metrics, readiness = WebhookMetrics(), Readiness()
    try:
        sender = WebhookSender(engine, keyring, own, clock=clock, random=SystemRandom(), metrics=metrics, log=log)
        relays = [_relay(settings, topic, engine, clock, metrics, readiness, log) for topic in TOPICS]
        loops = {relay.name: relay.run for relay in relays}

        def send(stop: Event) -> None:
            readiness.works(SENDING)
            with database_errors(engine.url.render_as_string()):
                asyncio.run(sender.run(stop.is_set))

        log.info("webhooks start", metrics=f"http://{own.host}:{own.port}/metrics")
        serve(
            metrics_app("Vedette webhooks", metrics.registry, readiness, log), {**loops, SENDING: send}, host=own.host,
            port=own.port, proxies=[], readiness=readiness, log=log,
        )  # fmt: skip
    finally:
        engine.dispose()


def endpoints_of(settings: Settings, engine: Engine, keyring: Keyring, clock: Clock, audit: AuditSink) -> Endpoints:
    """Return the registered endpoints of a database."""
    return Endpoints(engine, keyring, clock, os.urandom, audit, allow_private=settings.webhooks.allow_private)


@contextmanager
def opened(settings: Settings) -> Iterator[tuple[Endpoints, Engine]]:
    """Yield the endpoints and the database to a command, whose actions are audited as the operator's."""
    clock, engine = SystemClock(), open_database(settings.database)
    audit = OccasionalAudit(settings.audit, clock, _OPERATOR)
    try:
        yield endpoints_of(settings, engine, DeferredKeyring(settings.mfa), clock, audit), engine
    finally:
        engine.dispose()


def _relay(
    settings: Settings, topic: Name, engine: Engine, clock: Clock, metrics: WebhookMetrics, readiness: Readiness,
    log: Any,
) -> TopicRelay:  # fmt: skip
    own = settings.webhooks
    group = f"{own.group}-{topic}"

    def source() -> GroupConsumer:
        return GroupConsumer(
            settings.kafka, group=group, member=f"{group}-{socket.gethostname()}-{own.port}",
            topic=settings.topics.prefix + topic, limit=_AT_ONCE, log=log,
        )  # fmt: skip

    return TopicRelay(
        topic, source, engine, clock=clock, keep_days=own.keep_days, metrics=metrics, readiness=readiness, log=log
    )
