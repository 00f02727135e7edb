"""Wires the challenge service from settings: the only place where its real parts meet."""

import asyncio
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, get_args
from urllib.parse import urlsplit

import msgspec
from fastapi import FastAPI

from alerts.access import Credentials, Guard, Tokens, token_router
from alerts.audit import Audit, open_audit
from alerts.database import open_database
from alerts.mfa.api import api_router
from alerts.mfa.calls.api import call_link, calls_router
from alerts.mfa.calls.checks import Checks
from alerts.mfa.calls.clerk import CallClerk
from alerts.mfa.calls.desk_pages import desk_router
from alerts.mfa.calls.pages import customer_router
from alerts.mfa.calls.store import CallStore
from alerts.mfa.challenges import Challenges
from alerts.mfa.clerk import Clerk
from alerts.mfa.connection import connect
from alerts.mfa.engine import Rules
from alerts.mfa.enrol_api import enrolment_router
from alerts.mfa.enrol_pages import EnrolmentLinks, enrol_pages_router
from alerts.mfa.enrolment import Enrolment
from alerts.mfa.intake import Intake
from alerts.mfa.keyring import Entropy, Keyring
from alerts.mfa.limits import Limiter
from alerts.mfa.messenger import Fence, Messenger
from alerts.mfa.pages import pages_router
from alerts.mfa.passkeys import Party
from alerts.mfa.ports import Authorise
from alerts.mfa.publisher import Publisher
from alerts.mfa.records import Account, Factor
from alerts.mfa.service import Loop, serve
from alerts.mfa.sessions import Sessions
from alerts.mfa.store import Store
from alerts.mfa.web import build_app
from alerts.notify.bootstrap import stderr_log
from alerts.notify.email import EmailChannel
from alerts.notify.source import Source
from alerts.notify.twilio import TwilioChannel
from vedette.clock import HOUR, Clock, SystemClock
from vedette.errors import SettingsError
from vedette.money import to_minor
from vedette.settings import MfaSettings, Settings
from vedette.topics import Name

_SHIFT_MS = 8 * HOUR
"""How long a representative stays signed in."""

_DECISIONS_AT_ONCE = 500
_SMS_AT_ONCE = 8
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_RELEASE = re.compile(r"([A-Z]{3}) ([0-9]{1,12}(?:\.[0-9]+)?)")
_PREFIX = re.compile(r"\+[1-9][0-9]{0,6}")


@dataclass(frozen=True)
class Wired:
    """The service's parts, put together."""

    challenges: Challenges
    enrolment: Enrolment
    links: EnrolmentLinks
    messenger: Messenger
    limiter: Limiter
    checks: Checks
    credentials: Credentials
    app: FastAPI


def run(settings: Settings) -> None:
    """Run the service until SIGTERM or SIGINT; call it from the main thread.

    Raises:
        SettingsError: [mfa] lacks what the service needs, or would send a secret in the clear.
        UnavailableError: Broker or Redis do not answer.
    """
    clock, log = SystemClock(), stderr_log()
    with (
        open_audit(settings.audit, clock, "mfa") as audit,
        wire(settings, clock=clock, entropy=os.urandom, audit=audit, log=log) as wired,
        loops(wired, settings, log) as running,
    ):
        mfa = settings.mfa
        log.info("challenge service", listens=f"{mfa.host}:{mfa.port}", public_url=mfa.public_url)
        serve(wired.app, running, host=mfa.host, port=mfa.port, proxies=mfa.proxies)


@contextmanager
def wire(
    settings: Settings, *, clock: Clock, entropy: Entropy, audit: Audit, log: Any, authorise: Authorise | None = None
) -> Iterator[Wired]:  # fmt: skip
    """The service over its Redis and its channels, without broker and loops; closed afterwards.

    Args:
        settings: All of them.
        clock: Tells the time.
        entropy: Gives unpredictable bytes.
        audit: The audit log.
        log: A structlog logger.
        authorise: Guards the API; None: the credentials in the database do.
    """
    mfa = settings.mfa
    rules, keys = rules_of(mfa), keyring_of(mfa)
    secure = mfa.public_url.startswith("https://")
    client = connect(settings.redis)
    sms = _sms(settings)
    engine = open_database(settings.incidents)
    try:
        store = Store(client, settings.redis.prefix)
        limiter = Limiter(store, keys)
        challenges = Challenges(store, keys, rules, clock, entropy, audit)
        messenger = Messenger(
            challenges, sms=sms, email=_email(settings), limiter=limiter,
            fence=Fence(tuple(mfa.sms_prefixes), mfa.sms_prefix_cap, mfa.sms_per_hour),
            public_url=mfa.public_url, name=mfa.name, log=log,
        )  # fmt: skip

        def send_code(account: Account, phone: str, code: str, reference: str) -> bool:
            return asyncio.run(messenger.send_code(account, phone, code, reference))

        def send_link(account: Account, token: str, reference: str) -> bool:
            return asyncio.run(messenger.send_link(account, call_link(mfa.public_url, token), reference))

        enrolment = Enrolment(store, keys, rules.party, limiter, send_code, clock, entropy, audit)
        links = EnrolmentLinks(enrolment, mfa.public_url)
        visits = Sessions("challenge", store, keys, entropy, secure=secure)
        enrolments = Sessions("enrolment", store, keys, entropy, secure=secure)
        checks = Checks(
            CallStore(client, settings.redis.prefix), store, limiter, keys, clock, entropy, audit, send_link
        )
        calls = Sessions("call", store, keys, entropy, secure=secure)
        desks = Sessions("desk", store, keys, entropy, secure=secure, lifetime=_SHIFT_MS)
        credentials = Credentials(engine, keys, clock, entropy)
        guard = Guard(credentials, Tokens(keys, clock, entropy), audit, limiter, clock)
        authorise = authorise or guard.authorise
        app = build_app(
            [
                token_router(guard),
                pages_router(challenges, visits, limiter),
                enrol_pages_router(enrolment, links, enrolments, limiter),
                api_router(challenges, authorise, public_url=mfa.public_url),
                enrolment_router(enrolment, links, authorise),
                calls_router(checks, guard, public_url=mfa.public_url),
                customer_router(checks, calls, limiter),
                desk_router(checks, guard, desks, limiter),
            ],
            public_url=mfa.public_url,
            name=mfa.name,
        )
        yield Wired(challenges, enrolment, links, messenger, limiter, checks, credentials, app)
    finally:
        if sms:
            sms.shutdown()
        engine.dispose()
        client.close()


@contextmanager
def loops(wired: Wired, settings: Settings, log: Any) -> Iterator[Mapping[str, Loop]]:
    """What runs beside the web app, by name.

    Raises:
        UnavailableError: The broker does not answer, or has no topic `decisions`.
    """
    source = Source(
        settings.kafka,
        group=settings.mfa.group,
        member=f"{settings.mfa.group}-{settings.mfa.host}-{settings.mfa.port}",
        topic=settings.topics.prefix + Name.DECISIONS,
        most=_DECISIONS_AT_ONCE,
        timeout_s=settings.notify.timeout_s,
        log=log,
    )
    try:
        source.check()
        yield {
            "intake": Intake(wired.challenges, source, log).run,
            "messenger": wired.messenger.run,
            "clerk": Clerk(wired.challenges, settings, log).run,
            "calls": CallClerk(wired.checks, Publisher(settings), log).run,
        }
    finally:
        source.close()


def keyring_of(mfa: MfaSettings) -> Keyring:
    """The keyring of the settings.

    Raises:
        SettingsError: There is none.
    """
    if mfa.keys is None:
        raise SettingsError("[mfa] keys is not set", remedy="`vedette mfa keygen` makes a key; name its file keys_file")
    return Keyring(mfa.keys.value)


def rules_of(mfa: MfaSettings) -> Rules:
    """The institution's choices, checked.

    Raises:
        SettingsError: Names the key and the value.
    """
    known: tuple[Factor, ...] = get_args(Factor)
    order = tuple(factor for wanted in mfa.factors for factor in known if factor == wanted)
    if not order or len(order) != len(mfa.factors) or len(set(order)) != len(order):
        raise SettingsError(f"[mfa] factors {mfa.factors} must be some of {', '.join(known)}, each once")
    url = urlsplit(mfa.public_url)
    if url.scheme != "https" and not (url.scheme == "http" and url.hostname in _LOOPBACK):
        raise SettingsError(
            f"[mfa] public_url {mfa.public_url!r} would carry links and codes in the clear", remedy="use https://"
        )
    for prefix in mfa.sms_prefixes:
        if not _PREFIX.fullmatch(prefix):
            raise SettingsError(f"[mfa] sms_prefixes {prefix!r} is no beginning of an E.164 number like +34")
    if mfa.sms_from and not mfa.sms_prefixes:
        raise SettingsError(
            "[mfa] sms_prefixes is empty, so no customer could get an SMS",
            remedy="name the prefixes of the countries your customers are in, such as +34",
        )
    origin = f"{url.scheme}://{url.netloc}"
    return Rules(order=order, release=_release(mfa.release), party=Party(mfa.name, url.hostname or "", origin))


def _release(entries: list[str]) -> dict[str, int]:
    release: dict[str, int] = {}
    for entry in entries:
        found = _RELEASE.fullmatch(entry)
        if found is None:
            raise SettingsError(f"[mfa] release {entry!r} is no amount", remedy="write it like EUR 30.00")
        release[found[1]] = to_minor(found[2], found[1])
    return release


def _sms(settings: Settings) -> TwilioChannel | None:
    notify, sender = settings.notify, settings.mfa.sms_from
    if not sender:
        return None
    if not notify.twilio_account_sid or notify.twilio_auth_token is None:
        raise SettingsError("[mfa] sms_from needs twilio_account_sid and twilio_auth_token of [notify]")
    # Without public_url no receipts are asked for: they would come to the fraud team's web server.
    return TwilioChannel("sms", msgspec.structs.replace(notify, sms_from=sender, public_url=""), _SMS_AT_ONCE)


def _email(settings: Settings) -> EmailChannel | None:
    notify, sender = settings.notify, settings.mfa.email_from
    if not sender:
        return None
    return EmailChannel(msgspec.structs.replace(notify, email_from=sender), kept=0)
