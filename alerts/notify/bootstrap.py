"""Wires the notifier from settings: the only place where its real parts meet."""

import asyncio
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection, Engine, select

from alerts.database import database_errors, insert_new, open_database, sole_sender
from alerts.database.tables import facts
from alerts.incidents.routing import ChannelName, Routing
from alerts.incidents.routing_file import read_routing
from alerts.notify import days, outbox
from alerts.notify.apprise_urls import AppriseChannel
from alerts.notify.channel import Channel
from alerts.notify.courier import Courier
from alerts.notify.dispatch import Dispatcher
from alerts.notify.events import EventPublisher
from alerts.notify.links import Linker
from alerts.notify.outbox import Row, Tally
from alerts.notify.sender import RetryPolicy
from alerts.notify.service import Keeping, Notifier, Report
from alerts.notify.sns import SnsChannel
from alerts.notify.source import Source
from alerts.notify.twilio import TwilioChannel
from alerts.notify.webhook import WebhookChannel
from alerts.notify.words import Renderer
from vedette.clock import DAY, HOUR, Clock, SystemClock
from vedette.errors import SettingsError
from vedette.settings import NotifySettings, Settings
from vedette.topics import Name

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_ALERTS_AT_ONCE = 200
_DECISIONS_AT_ONCE = 2_000


def run(settings: Settings, *, until_idle_s: float = 0.0) -> Report:
    """Run the notifier until SIGTERM, SIGINT, or until idle; call it from the main thread.

    Raises:
        SettingsError: The routing has a mistake, or [notify] lacks what a channel needs.
        UnavailableError: The broker does not answer.
        StateError: Another process sends from the database, or it cannot be written any more.
    """
    with (
        database_errors(settings.incidents.database),
        notifier(settings, clock=SystemClock(), random=SystemRandom(), log=stderr_log()) as wired,
    ):
        return asyncio.run(_until_signal(wired, until_idle_s))


def status(settings: Settings) -> list[Tally]:
    """Counts per channel and status.

    Raises:
        StateError: The database does not answer, or is of a newer Vedette.
    """
    with _reading(settings) as connection:
        return outbox.tally(connection)


def listing(settings: Settings, statuses: Sequence[str], limit: int) -> list[Row]:
    """Messages in these statuses, the newest first; see `status` for the errors."""
    with _reading(settings) as connection:
        return outbox.listing(connection, statuses, limit)


def retry(settings: Settings, ids: Sequence[int], clock: Clock) -> int:
    """Have dead letters tried anew, all of them if none is named; how many. See `status` for the errors."""
    engine = open_database(settings.incidents)
    try:
        with database_errors(settings.incidents.database), engine.begin() as connection:
            return outbox.retry(connection, ids, clock.now_ms())
    finally:
        engine.dispose()


@contextmanager
def notifier(
    settings: Settings, *, clock: Clock, random: Random, log: Any, policy: RetryPolicy | None = None
) -> Iterator[Notifier]:
    """A notifier with its real parts, closed afterwards; see `run` for the errors."""
    policy = policy or RetryPolicy()
    notify = settings.notify
    renderer = Renderer(notify.templates)
    routing = routing_of(settings, renderer)
    with ExitStack() as closing:
        engine = open_database(settings.incidents)
        closing.callback(engine.dispose)
        still_sole = closing.enter_context(sole_sender(engine))
        identity = _recover(engine, policy, clock, random, log)

        def source(suffix: str, topic: Name, most: int) -> Source:
            opened = Source(
                settings.kafka,
                group=notify.group + suffix,
                # A database knows what it has recorded, so partitions stay with their database over a restart.
                member=f"{notify.group}{suffix}-{identity}",
                topic=settings.topics.prefix + topic,
                most=most,
                timeout_s=notify.timeout_s,
                log=log,
            )
            closing.callback(opened.close)
            return opened

        # They join their groups while the rest is made, and what a crash left to send need not wait for them.
        alerts = source("", Name.ALERTS, _ALERTS_AT_ONCE)
        decisions = source("-days", Name.DECISIONS, _DECISIONS_AT_ONCE)
        publisher = EventPublisher(settings, engine, notify.timeout_s, log)
        closing.callback(publisher.close)
        yield Notifier(
            alerts=alerts,
            decisions=decisions,
            engine=engine,
            couriers=[
                Courier(
                    channel=channel, targets=routing.targets, engine=engine, policy=policy, parallel=notify.parallel,
                    clock=clock, random=random, log=log,
                )
                for channel in channels(routing, notify, clock)
            ],
            dispatcher=Dispatcher(routing, renderer, linker_of(notify, random), days.picture),
            publisher=publisher,
            keeping=Keeping(settings.incidents.expire_after_h * HOUR, notify.retention_days * DAY),
            still_sole=still_sole,
            clock=clock,
            log=log,
        )  # fmt: skip


def routing_of(settings: Settings, renderer: Renderer) -> Routing:
    """The routing of the settings, all of whose channels can send.

    Raises:
        SettingsError: It is not named, has a mistake, or a channel lacks a setting.
    """
    if not settings.incidents.routing:
        raise SettingsError(
            "[incidents] routing is not set: nobody would be told",
            remedy="docs/alerts.md has a routing file to start from",
        )
    routing = read_routing(Path(settings.incidents.routing), renderer.languages)
    check(settings.notify, routing.channels)
    return routing


def channels(routing: Routing, notify: NotifySettings, clock: Clock) -> list[Channel]:
    """A channel for each that somebody is reached by."""
    makers: dict[ChannelName, Callable[[], Channel]] = {
        "email": lambda: _email(notify),
        "sms": lambda: TwilioChannel("sms", notify, notify.parallel),
        "whatsapp": lambda: TwilioChannel("whatsapp", notify, notify.parallel),
        "webhook": lambda: WebhookChannel(notify.timeout_s, notify.parallel, clock),
        "sns": lambda: SnsChannel(notify.timeout_s, notify.parallel, notify.sns_endpoint),
        "apprise": lambda: AppriseChannel(notify.parallel),
    }
    return [make() for name, make in makers.items() if name in routing.channels]


def _email(notify: NotifySettings) -> Channel:
    from alerts.notify.email import EmailChannel  # noqa: PLC0415, slow to import, and some tell by phone alone

    return EmailChannel(notify, notify.parallel)


def linker_of(notify: NotifySettings, random: Random) -> Linker | None:
    """What makes links, if there is a page they lead to and a key."""
    if not (notify.public_url and notify.link_key):
        return None
    return Linker(notify.public_url.rstrip("/"), notify.link_key, random)


def check(notify: NotifySettings, used: set[ChannelName]) -> None:
    """Refuse settings that could not send, or would send a secret in the clear.

    Raises:
        SettingsError: Names the key and the value.
    """
    if "email" in used and notify.smtp_username and not notify.smtp_starttls and notify.smtp_host not in _LOOPBACK:
        raise SettingsError(
            f"[notify] would send the password of {notify.smtp_username!r} to {notify.smtp_host} in the clear",
            remedy="set smtp_starttls = true",
        )
    senders = {"sms": "sms_from", "whatsapp": "whatsapp_from"}
    for channel in used & senders.keys():
        for key in (senders[channel], "twilio_account_sid", "twilio_auth_token"):
            if not getattr(notify, key):
                raise SettingsError(
                    f"[notify] {key} is not set, and the routing's {channel} recipients need it",
                    remedy="Twilio's console shows it",
                )
    for key in ("twilio_base_url", "sns_endpoint", "public_url"):
        url = getattr(notify, key)
        scheme, _, rest = url.partition("://")
        host = rest.partition("/")[0].rpartition(":")[0] or rest.partition("/")[0]
        if url and scheme != "https" and not (scheme == "http" and host in _LOOPBACK):
            raise SettingsError(
                f"[notify] {key} {url!r} would carry secrets in the clear",
                remedy="use https:// (http:// is for this machine alone)",
            )
    if notify.public_url and not notify.link_key:
        raise SettingsError(
            "[notify] public_url is set, and link_key, which signs its links, is not",
            remedy="put at least 32 random characters in the file that link_key_file names",
        )
    if notify.link_key and len(notify.link_key.value) < 32:
        raise SettingsError("[notify] link_key has fewer than 32 characters", remedy="take `openssl rand -hex 32`")


def stderr_log() -> Any:
    """A structlog logger on standard error: readable on a terminal, JSON lines otherwise."""
    terminal = sys.stderr.isatty()
    return structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer(_json),
        ],
    )


def _json(line: Any, default: Callable[[Any], Any]) -> str:
    return msgspec.json.encode(line, enc_hook=default).decode()


def _recover(engine: Engine, policy: RetryPolicy, clock: Clock, random: Random, log: Any) -> str:
    """Put in doubt what a crash left being sent; the database's identity, drawn when it is first used."""
    now = clock.now_ms()
    with engine.begin() as connection:
        if doubtful := outbox.recover(connection, now + policy.settle_ms, now):
            log.warning("messages in doubt after a crash", count=doubtful)
        insert_new(connection, facts, [{"name": "identity", "value": random.randbytes(8).hex()}])
        return str(connection.execute(select(facts.c.value).where(facts.c.name == "identity")).scalar_one())


@contextmanager
def _reading(settings: Settings) -> Iterator[Connection]:
    engine = open_database(settings.incidents)
    try:
        with (
            database_errors(settings.incidents.database),
            engine.connect().execution_options(reads=True) as connection,
        ):
            yield connection
    finally:
        engine.dispose()


async def _until_signal(wired: Notifier, until_idle_s: float) -> Report:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    previous = {number: signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set)) for number in signals}
    try:
        return await wired.run(stop, until_idle_s)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
