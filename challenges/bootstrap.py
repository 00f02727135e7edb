"""Wiring of the challenge service from settings."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import Any, get_args
from urllib.parse import urlsplit

from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastapi import APIRouter, FastAPI

from access.audit import open_audit
from access.credentials import Credentials
from access.guard import Authorizer
from access.keyring import Entropy, Keyring, keyring_of
from access.ports import AuditSink, Authorise
from access.rate_limit import RateLimiter
from access.roles import Scope
from access.tokens import Tokens
from access.web import token_router
from adapters.channels.channel import Channel
from adapters.channels.email import EmailChannel
from adapters.channels.twilio import TwilioChannel
from adapters.database import open_database
from adapters.event_streams import EventStreams
from adapters.http_server import Loop, Readiness, serve
from adapters.http_thread import ServerThread
from adapters.kafka_consumer import GroupConsumer
from adapters.kafka_producer import EventProducer
from adapters.logs import service_log
from adapters.metrics_app import metrics_app
from adapters.redis import connect
from adapters.urls import may_carry_secrets
from challenges import decision_consumer, notifier, outbox_relay
from challenges.api import ChallengeApi
from challenges.calls import outbox_relay as call_relay
from challenges.calls.api import CallApi, call_link
from challenges.calls.checks import CallChecks
from challenges.calls.desk_pages import DeskPages
from challenges.calls.outbox_relay import CallRelay
from challenges.calls.pages import CustomerCallPages
from challenges.calls.store import CallStore
from challenges.challenges import Challenges
from challenges.decision_consumer import DecisionConsumer
from challenges.enrol_api import EnrolmentApi
from challenges.enrol_pages import EnrolmentPages
from challenges.enrolment import Enrolment
from challenges.first_decisions import FirstDecisions
from challenges.links import AccountLinks, LinkKind
from challenges.metrics import ChallengeMetrics
from challenges.notifier import ChallengeNotifier
from challenges.outbox_relay import ChallengeRelay
from challenges.pages import ChallengePages
from challenges.passkeys import RelyingParty
from challenges.records import Account, Factor
from challenges.sessions import LIFETIME, InForce, Session, SessionKind, Sessions
from challenges.sms_budget import SmsBudget
from challenges.state_machine import Rules
from challenges.store import ChallengeStore
from challenges.web import build_app
from vedette.clock import HOUR, Clock, SystemClock
from vedette.errors import SettingsError
from vedette.money import to_minor
from vedette.settings import MfaSettings, Settings
from vedette.topics import Name

_SHIFT_MS = 8 * HOUR
"""Length of a representative's session, milliseconds."""

_DECISIONS_AT_ONCE = 500
_SMS_AT_ONCE = 8
_RELEASE = re.compile(r"([A-Z]{3}) ([0-9]{1,12}(?:\.[0-9]+)?)")
_PREFIX = re.compile(r"\+[1-9][0-9]{0,6}")


@dataclass(frozen=True)
class ChallengeService:
    """The assembled parts of the service."""

    challenges: Challenges
    enrolment: Enrolment
    enrolment_links: AccountLinks
    notifier: ChallengeNotifier
    limiter: RateLimiter
    checks: CallChecks
    credentials: Credentials
    app: FastAPI
    readiness: Readiness
    public_url: str
    metrics: ChallengeMetrics


def run(settings: Settings) -> None:
    """Run the service until SIGTERM or SIGINT; call it from the main thread.

    Raises:
        SettingsError: [mfa] lacks what the service needs, or would send a secret in the clear.
    """
    clock, log = SystemClock(), service_log("challenges")
    with (
        open_audit(settings.audit, clock, "mfa") as audit,
        wire(settings, clock=clock, entropy=os.urandom, audit=audit, log=log) as service,
    ):
        mfa = settings.mfa
        shown = metrics_app("Vedette challenges metrics", service.metrics.registry, service.readiness, log)
        metrics = ServerThread(shown, mfa.metrics_host, mfa.metrics_port, setting="`[mfa] metrics_port`")
        log.info(
            "challenge service", listens=f"{mfa.host}:{mfa.port}", public_url=mfa.public_url,
            metrics=f"{metrics.url}/metrics",
        )  # fmt: skip
        serve(
            service.app, loops(service, settings, log), host=mfa.host, port=mfa.port, proxies=mfa.proxies,
            readiness=service.readiness, log=log,
        )  # fmt: skip


@dataclass(frozen=True)
class _Base:
    """The common dependencies of the service's parts."""

    settings: Settings
    keys: Keyring
    rules: Rules
    store: ChallengeStore
    limiter: RateLimiter
    credentials: Credentials
    clock: Clock
    entropy: Entropy
    audit: AuditSink
    log: Any
    readiness: Readiness = field(default_factory=Readiness)
    streams: EventStreams = field(default_factory=EventStreams)
    metrics: ChallengeMetrics = field(default_factory=ChallengeMetrics)

    def links(self, kind: LinkKind, *, one_live: bool) -> AccountLinks:
        """Links to an account's pages of a kind."""
        return AccountLinks(
            kind, self.store, self.keys, self.entropy,
            in_force=lambda maker: self.credentials.by_id(maker) is not None, one_live=one_live,
        )  # fmt: skip

    def sessions(self, kind: SessionKind, in_force: InForce, lifetime: int = LIFETIME) -> Sessions:
        """Sessions of a kind."""
        secure = self.settings.mfa.public_url.startswith("https://")
        return Sessions(kind, self.store, self.keys, self.entropy, secure=secure, in_force=in_force, lifetime=lifetime)


@contextmanager
def wire(
    settings: Settings, *, clock: Clock, entropy: Entropy, audit: AuditSink, log: Any,
    authorise: Authorise | None = None,
) -> Iterator[ChallengeService]:  # fmt: skip
    """Assemble the service with its Redis and its channels, without broker and loops; close it afterwards.

    Args:
        settings: Settings of the deployment.
        clock: The clock.
        entropy: Source of unpredictable bytes.
        audit: The audit log.
        log: A structlog logger.
        authorise: Guard of the API; None: by the credentials in the database.
    """
    rules, keys = rules_of(settings.mfa), keyring_of(settings.mfa)
    sms, email = _sms(settings), _email(settings)
    client, engine = connect(settings.redis), open_database(settings.database)
    prefix = settings.redis.prefix
    try:
        base = _Base(
            settings, keys, rules, ChallengeStore(client, prefix), RateLimiter(client, prefix, keys),
            Credentials(engine, keys, clock, entropy), clock, entropy, audit, log,
        )  # fmt: skip
        with start_blocking_portal() as portal:
            yield _assembled(base, CallStore(client, prefix), sms, email, portal, authorise)
    finally:
        if sms:
            sms.shutdown()
        engine.dispose()
        client.close()


def _assembled(
    base: _Base, calls: CallStore, sms: Channel | None, email: Channel | None, portal: BlockingPortal,
    authorise: Authorise | None,
) -> ChallengeService:  # fmt: skip
    mfa = base.settings.mfa
    challenges = Challenges(base.store, base.keys, base.rules, base.clock, base.entropy, base.audit)
    budget = SmsBudget(tuple(mfa.sms_prefixes), mfa.sms_prefix_cap, mfa.sms_per_hour, base.limiter, base.clock)
    notifier = ChallengeNotifier(
        challenges, sms=sms, email=email, budget=budget, public_url=mfa.public_url, name=mfa.name,
        readiness=base.readiness, log=base.log, metrics=base.metrics,
    )  # fmt: skip

    # Routes run in threads; what they send goes through the one event loop of the portal.
    def send_code(account: Account, phone: str, code: str, reference: str) -> bool:
        return portal.call(notifier.send_code, account, phone, code, reference)

    def send_link(account: Account, token: str, reference: str) -> bool:
        return portal.call(notifier.send_link, account, call_link(mfa.public_url, token), reference)

    enrolment = Enrolment(
        base.store, base.keys, base.rules.party, base.limiter, send_code, base.clock, base.entropy, base.audit
    )
    enrolment_links = base.links("enrolment", one_live=True)
    checks = CallChecks(
        calls, base.store, base.links("call", one_live=False), base.limiter, base.keys, base.clock, base.entropy,
        base.audit, send_link,
    )  # fmt: skip
    routers = _routers(base, challenges, enrolment, enrolment_links, checks, authorise)
    app = build_app(routers, public_url=mfa.public_url, name=mfa.name, readiness=base.readiness)
    return ChallengeService(
        challenges, enrolment, enrolment_links, notifier, base.limiter, checks, base.credentials, app, base.readiness,
        mfa.public_url, base.metrics,
    )  # fmt: skip


def _routers(
    base: _Base, challenges: Challenges, enrolment: Enrolment, links: AccountLinks, checks: CallChecks,
    authorise: Authorise | None,
) -> list[APIRouter]:  # fmt: skip
    url, limiter = base.settings.mfa.public_url, base.limiter
    tokens = Tokens(base.keys, base.clock, base.entropy)
    authorizer = Authorizer(base.credentials, tokens, base.audit, limiter, base.clock)
    authorise = authorise or authorizer.authorise

    def same_epoch(session: Session) -> bool:
        state = challenges.get(session.subject)
        return state is not None and state.account.epoch == session.epoch

    def credential_in_force(session: Session) -> bool:
        credential = base.credentials.by_id(session.subject)
        return credential is not None and Scope.CALLS_CHECK in credential.scopes

    desks = base.sessions("desk", credential_in_force, _SHIFT_MS)
    return [
        token_router(authorizer),
        ChallengePages(challenges, base.sessions("challenge", same_epoch), limiter).router(),
        EnrolmentPages(enrolment, links, base.sessions("enrolment", links.good), limiter).router(),
        CustomerCallPages(checks, base.sessions("call", checks.links.good), limiter, base.streams).router(),
        DeskPages(checks, authorizer, desks, limiter, base.streams).router(),
        ChallengeApi(challenges, url).router(authorise),
        EnrolmentApi(enrolment, links, url).router(authorise),
        CallApi(checks, url).router(authorizer.authorise),
    ]


def loops(service: ChallengeService, settings: Settings, log: Any) -> Mapping[str, Loop]:
    """Return the background loops by their name in the readiness."""

    def read_decisions(stop: Event) -> None:
        source = GroupConsumer(
            settings.kafka,
            group=settings.mfa.group,
            member=f"{settings.mfa.group}-{settings.mfa.host}-{settings.mfa.port}",
            topic=settings.topics.prefix + Name.DECISIONS,
            limit=_DECISIONS_AT_ONCE,
            log=log,
        )
        try:
            source.check()
            firsts = FirstDecisions(settings)
            DecisionConsumer(service.challenges, source, firsts, log, service.readiness).run(stop)
        finally:
            source.close()

    readiness = service.readiness
    return {
        decision_consumer.NAME: read_decisions,
        notifier.NAME: service.notifier.run,
        outbox_relay.NAME: ChallengeRelay(
            service.challenges, EventProducer(settings), readiness, log, service.metrics
        ).run,
        call_relay.NAME: CallRelay(service.checks, EventProducer(settings), readiness, log).run,
    }


def rules_of(mfa: MfaSettings) -> Rules:
    """Return the institution's rules, checked.

    Raises:
        SettingsError: Names the key and the value.
    """
    known: tuple[Factor, ...] = get_args(Factor)
    order = tuple(factor for wanted in mfa.factors for factor in known if factor == wanted)
    if not order or len(order) != len(mfa.factors) or len(set(order)) != len(order):
        raise SettingsError(f"[mfa] factors {mfa.factors} must be some of {', '.join(known)}, each once")
    url = urlsplit(mfa.public_url)
    if not may_carry_secrets(mfa.public_url):
        raise SettingsError(
            f"[mfa] public_url {mfa.public_url!r} would carry links and codes in the clear", remedy="use https://"
        )
    for prefix in mfa.sms_prefixes:
        if not _PREFIX.fullmatch(prefix):
            raise SettingsError(f"[mfa] sms_prefixes {prefix!r} is not the beginning of an E.164 number, such as +34")
    if mfa.sms_from and not mfa.sms_prefixes:
        raise SettingsError(
            "[mfa] sms_prefixes is empty, so no customer could get an SMS",
            remedy="name the prefixes of the countries your customers are in, such as +34",
        )
    origin = f"{url.scheme}://{url.netloc}"
    return Rules(order=order, release=_release(mfa.release), party=RelyingParty(mfa.name, url.hostname or "", origin))


def _release(entries: list[str]) -> dict[str, int]:
    release: dict[str, int] = {}
    for entry in entries:
        found = _RELEASE.fullmatch(entry)
        if found is None:
            raise SettingsError(f"[mfa] release {entry!r} is not an amount", remedy="write it like EUR 30.00")
        release[found[1]] = to_minor(found[2], found[1])
    return release


def _sms(settings: Settings) -> TwilioChannel | None:
    account, sender = settings.twilio, settings.mfa.sms_from
    if not sender:
        return None
    if not account.account_sid or account.auth_token is None:
        raise SettingsError("[mfa] sms_from needs [twilio] account_sid and auth_token", remedy="set both")
    return TwilioChannel("sms", account, sender, parallel=_SMS_AT_ONCE)


def _email(settings: Settings) -> EmailChannel | None:
    sender = settings.mfa.email_from
    return EmailChannel(settings.smtp, sender, kept=0) if sender else None
