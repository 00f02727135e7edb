"""Wires the notifier from settings: the only place where its real parts meet."""

import asyncio
import re
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random, SystemRandom
from typing import Any
from urllib.parse import urlsplit

import structlog

from alerts.notify.courier import Courier
from alerts.notify.email import EmailChannel
from alerts.notify.ledger import Ledger, Tally, read_tally
from alerts.notify.message import Renderer
from alerts.notify.sender import RetryPolicy
from alerts.notify.service import Notifier, Recipients, Report
from alerts.notify.sms import SmsChannel
from alerts.notify.source import AlertSource
from vedette.clock import Clock, SystemClock
from vedette.errors import SettingsError, StateError
from vedette.settings import NotifySettings, Secret, Settings
from vedette.topics import Name

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_ADDRESS = re.compile(r"[!-?A-~]+@[A-Za-z0-9.-]+")  # printable ASCII, one @
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def run(settings: Settings, *, until_idle_s: float = 0.0) -> Report:
    """Run the notifier until SIGTERM, SIGINT, or until idle; call it from the main thread.

    Raises:
        SettingsError: [notify] names nobody, or lacks what a channel needs.
        UnavailableError: The broker does not answer.
        StateError: The ledger is in use, unreadable, or cannot be written any more.
    """
    try:
        with notifier(settings, clock=SystemClock(), random=SystemRandom(), log=stderr_log()) as wired:
            return asyncio.run(_until_signal(wired, until_idle_s))
    except sqlite3.Error as error:
        raise StateError(
            f"ledger {settings.notify.ledger}: {error}",
            remedy="what is recorded is kept; start again once it is mended",
        ) from error


def status(settings: Settings) -> list[Tally]:
    """Counts per channel and status of the ledger in the settings.

    Raises:
        InputError: There is no ledger yet.
        StateError: The file is no ledger of this version.
    """
    return read_tally(Path(settings.notify.ledger))


@contextmanager
def notifier(
    settings: Settings, *, clock: Clock, random: Random, log: Any, policy: RetryPolicy | None = None
) -> Iterator[Notifier]:
    """A notifier with its real parts, closed afterwards; see `run` for the errors."""
    policy = policy or RetryPolicy()
    notify = settings.notify
    check(notify)
    sms = _sms(notify, notify.twilio_auth_token) if notify.sms_to and notify.twilio_auth_token else None
    channels = [channel for channel in (_email(notify) if notify.email_to else None, sms) if channel]
    try:
        with Ledger(Path(notify.ledger)) as ledger:
            now = clock.now_ms()
            if doubtful := ledger.recover(now + policy.settle_ms, now):
                log.warning("messages in doubt after a crash", count=doubtful)
            source = AlertSource(
                settings.kafka,
                group=notify.group,
                # A ledger knows what it has recorded, so partitions stay with their ledger over a restart.
                member=f"{notify.group}-{ledger.identity}",
                topic=settings.topics.prefix + Name.ALERTS,
                timeout_s=notify.timeout_s,
                log=log,
            )
            try:
                yield Notifier(
                    source=source,
                    ledger=ledger,
                    couriers=[
                        Courier(channel=c, ledger=ledger, policy=policy, clock=clock, random=random, log=log)
                        for c in channels
                    ],
                    recipients=_recipients(notify),
                    renderer=Renderer(),
                    clock=clock,
                    log=log,
                )
            finally:
                source.close()
    finally:
        if sms:
            sms.close()


def check(notify: NotifySettings) -> None:
    """Refuse settings that could not send, or would send a secret in the clear.

    Raises:
        SettingsError: Names the key and the value.
    """
    if not notify.email_to and not notify.sms_to:
        raise SettingsError("[notify] names nobody to tell", remedy="set email_to, sms_to or both")
    for address in (*notify.email_to, *([notify.email_from] if notify.email_to else [])):
        if not _ADDRESS.fullmatch(address):
            raise SettingsError(
                f"[notify] {address!r} is not an e-mail address", remedy="write it like fraud@example.com"
            )
    if notify.email_to and notify.smtp_username and not notify.smtp_starttls and notify.smtp_host not in _LOOPBACK:
        raise SettingsError(
            f"[notify] would send the password of {notify.smtp_username!r} to {notify.smtp_host} in the clear",
            remedy="set smtp_starttls = true",
        )
    if notify.sms_to:
        _check_sms(notify)


def _check_sms(notify: NotifySettings) -> None:
    for number in notify.sms_to:
        if not _E164.fullmatch(number):
            raise SettingsError(f"[notify] sms_to {number!r} is not in E.164", remedy="write it like +14155550123")
    for key in ("sms_from", "twilio_account_sid", "twilio_auth_token"):
        if not getattr(notify, key):
            raise SettingsError(f"[notify] {key} is not set, and sms_to needs it", remedy="Twilio's console shows it")
    if notify.twilio_base_url:
        url = urlsplit(notify.twilio_base_url)
        if url.scheme != "https" and not (url.scheme == "http" and url.hostname in _LOOPBACK):
            raise SettingsError(
                f"[notify] twilio_base_url {notify.twilio_base_url!r} would carry the token in the clear",
                remedy="use https:// (http:// is for this machine alone)",
            )


def _recipients(notify: NotifySettings) -> Recipients:
    return [*(("email", address) for address in notify.email_to), *(("sms", number) for number in notify.sms_to)]


def stderr_log() -> Any:
    """A structlog logger on standard error: readable on a terminal, JSON lines otherwise."""
    terminal = sys.stderr.isatty()
    return structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer(),
        ],
    )


def _email(notify: NotifySettings) -> EmailChannel:
    return EmailChannel(
        host=notify.smtp_host,
        port=notify.smtp_port,
        starttls=notify.smtp_starttls,
        username=notify.smtp_username,
        password=notify.smtp_password,
        sender=notify.email_from,
        timeout_s=notify.timeout_s,
    )


def _sms(notify: NotifySettings, token: Secret) -> SmsChannel:
    return SmsChannel(
        account_sid=notify.twilio_account_sid,
        auth_token=token,
        sender=notify.sms_from,
        timeout_s=notify.timeout_s,
        base_url=notify.twilio_base_url,
    )


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
