"""Builds the notifier from settings, and runs it."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

from sqlalchemy import Engine, select

from adapters.database import database_errors, insert_new, open_database, sole_sender
from adapters.kafka_consumer import GroupConsumer
from adapters.logs import service_log
from alerts.incidents import store
from alerts.incidents.routing import Routing
from alerts.incidents.routing_file import read_routing
from alerts.notify import daily_totals, failures, outbox
from alerts.notify.channel_worker import ChannelWorker
from alerts.notify.channels import check_channels, open_channels, open_linker
from alerts.notify.dispatch import Dispatcher
from alerts.notify.events import EventPublisher
from alerts.notify.rendering import Renderer
from alerts.notify.retry_policy import RetryPolicy
from alerts.notify.service import Notifier, NotifierReport, Retention
from alerts.tables import facts
from vedette.clock import DAY, HOUR, Clock, SystemClock
from vedette.errors import SettingsError
from vedette.settings import Settings
from vedette.topics import Name

_ALERTS_AT_ONCE = 200
_DECISIONS_AT_ONCE = 2_000


def run(settings: Settings, *, until_idle_s: float = 0.0) -> NotifierReport:
    """Run the notifier until SIGTERM, SIGINT, or until idle; call it from the main thread.

    Raises:
        SettingsError: The routing has a mistake, or the settings lack what a channel needs.
        UnavailableError: The broker does not answer at the start.
        StateError: Another process sends from the database, or it cannot be written any more.
    """
    with (
        database_errors(settings.database.url),
        notifier(settings, clock=SystemClock(), random=SystemRandom(), log=service_log("notify")) as wired,
    ):
        return asyncio.run(_until_signal(wired, until_idle_s))


@contextmanager
def notifier(
    settings: Settings, *, clock: Clock, random: Random, log: Any, policy: RetryPolicy | None = None
) -> Iterator[Notifier]:
    """Yield a notifier with its parts, closed afterwards; see `run` for the errors."""
    policy = policy or RetryPolicy()
    renderer = Renderer(settings.notify.templates)
    routing = read_checked_routing(settings, renderer)
    with ExitStack() as stack:
        engine = open_database(settings.database)
        stack.callback(engine.dispose)
        still_sole = stack.enter_context(sole_sender(engine))
        identity = _recover(engine, policy, clock, random, log)
        with engine.begin() as connection:
            store.set_ranking_currency(connection, routing.currency)
        # The readers join their groups while the rest is created; messages left by a crash need not wait for them.
        alerts = stack.enter_context(closing(_source(settings, "", Name.ALERTS, _ALERTS_AT_ONCE, identity, log)))
        decisions = stack.enter_context(
            closing(_source(settings, "-days", Name.DECISIONS, _DECISIONS_AT_ONCE, identity, log))
        )
        publisher = stack.enter_context(closing(EventPublisher(settings, engine, settings.kafka.timeout_s, clock, log)))
        workers = [
            ChannelWorker(
                channel=channel, targets=routing.targets, engine=engine, policy=policy,
                parallel=settings.notify.parallel, clock=clock, random=random, log=log,
            )
            for channel in open_channels(routing.channels, settings, clock)
        ]  # fmt: skip
        linker = open_linker(settings.notify, random)
        yield Notifier(
            alerts=alerts,
            decisions=decisions,
            engine=engine,
            workers=workers,
            dispatcher=Dispatcher(routing, renderer, linker, daily_totals.chart),
            publisher=publisher,
            retention=Retention(settings.incidents.expire_after_h * HOUR, settings.notify.retention_days * DAY),
            still_sole=still_sole,
            clock=clock,
            log=log,
        )


def read_checked_routing(settings: Settings, renderer: Renderer) -> Routing:
    """Return the routing of the settings, all of whose channels can send.

    Raises:
        SettingsError: The routing is not named, has a mistake, or a channel lacks a setting.
    """
    if not settings.incidents.routing:
        raise SettingsError(
            "[incidents] routing is not set: nobody would be notified",
            remedy="docs/alerts.md has a routing file to start from",
        )
    routing = read_routing(Path(settings.incidents.routing), renderer.languages)
    check_channels(settings, routing.channels)
    return routing


def _source(settings: Settings, suffix: str, topic: Name, limit: int, identity: str, log: Any) -> GroupConsumer:
    group = settings.notify.group + suffix
    return GroupConsumer(
        settings.kafka,
        group=group,
        # A database holds its recorded alerts, so partitions stay with their database over a restart.
        member=f"{group}-{identity}",
        topic=settings.topics.prefix + topic,
        limit=limit,
        log=log,
    )


def _recover(engine: Engine, policy: RetryPolicy, clock: Clock, random: Random, log: Any) -> str:
    """Mark messages that were being sent at a crash as doubtful; return the database's id, created on first use."""
    now = clock.now_ms()
    with engine.begin() as connection:
        if doubtful := outbox.recover(connection, now + policy.settle_ms, now):
            log.warning("messages in doubt after a crash", count=doubtful)
        failures.clear_all(connection)
        insert_new(connection, facts, [{"name": "identity", "value": random.randbytes(8).hex()}])
        return str(connection.execute(select(facts.c.value).where(facts.c.name == "identity")).scalar_one())


async def _until_signal(wired: Notifier, until_idle_s: float) -> NotifierReport:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    previous = {number: signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set)) for number in signals}
    try:
        return await wired.run(stop, until_idle_s)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
