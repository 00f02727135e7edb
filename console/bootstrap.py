"""Wiring of the console from settings."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, FastAPI
from sqlalchemy import Engine

from access.audit import Audit, open_audit
from access.keyring import Entropy, keyring_of
from access.process_limits import ProcessRateLimiter
from adapters.database import open_database
from adapters.event_streams import EventStreams
from adapters.http_server import Loop, Readiness, serve
from adapters.logs import service_log
from adapters.redis import connect
from adapters.urls import may_carry_secrets
from alerts.incidents import IncidentDesk
from challenges.bootstrap import rules_of
from challenges.challenges import Challenges
from challenges.store import ChallengeStore
from console import live_feed, proofs
from console.accounts.identity_provider import IdentityProvider
from console.accounts.one_time import OneTimeTokens
from console.accounts.staff_sessions import StaffSessions
from console.accounts.users import Users
from console.archive_reader import ArchiveReader
from console.changes.proposals import Proposals
from console.changes.whatif_runs import WhatifRuns
from console.computed import FigureJobs
from console.control_topic import ControlTopic
from console.guard import ConsoleGuard
from console.live_feed import LiveFeed
from console.model_desk import ModelDesk
from console.pages.audit import AuditPages
from console.pages.case import CasePages
from console.pages.confirm import ConfirmPages
from console.pages.drafts import DraftPages
from console.pages.find import FindPages
from console.pages.live import LivePages
from console.pages.models import ModelPages
from console.pages.oidc import OidcPages, roles_of
from console.pages.own import OwnPages
from console.pages.policy import PolicyPages
from console.pages.proofs import ProofPages
from console.pages.queue import QueuePages
from console.pages.reports import ReportPages
from console.pages.score import ScorePages
from console.pages.sign_in import SignInPages
from console.pages.users import UserPages
from console.policy_desk import PolicyDesk
from console.questions import CustomerQuestions
from console.step_up import StepUp
from console.web import build_app
from streams.history.model_figures import figures_of
from vedette.clock import HOUR, MINUTE, Clock, SystemClock
from vedette.errors import SettingsError
from vedette.settings import Settings

_LOOK_S = 1.0


@dataclass(frozen=True)
class Console:
    """The assembled parts of the console."""

    app: FastAPI
    users: Users
    sessions: StaffSessions
    desk: IncidentDesk
    feed: LiveFeed
    deciding: "Deciding"
    readiness: Readiness

    @property
    def loops(self) -> Mapping[str, Loop]:
        """The background loops by their name in the readiness."""
        return {live_feed.NAME: self.feed.run}


def run(settings: Settings) -> None:
    """Run the console until SIGTERM or SIGINT; call it from the main thread.

    Raises:
        SettingsError: [mfa] keys or [audit] key is missing, [oidc] is not complete, or passwords would travel in the
            clear.
    """
    clock, log = SystemClock(), service_log("console")
    with (
        open_audit(settings.audit, clock, "console") as audit,
        wire(settings, clock=clock, entropy=os.urandom, audit=audit, log=log) as console,
    ):
        own = settings.console
        log.info("console", listens=f"{own.host}:{own.port}", public_url=own.public_url)
        serve(
            console.app, console.loops, host=own.host, port=own.port, proxies=own.proxies,
            readiness=console.readiness, log=log,
        )  # fmt: skip


@contextmanager
def wire(settings: Settings, *, clock: Clock, entropy: Entropy, audit: Audit, log: Any) -> Iterator[Console]:
    """Assemble the console with its database, without loops; close it afterwards.

    Args:
        settings: Settings of the deployment.
        clock: The clock.
        entropy: Source of unpredictable bytes.
        audit: The audit log.
        log: A structlog logger.

    Raises:
        SettingsError: See run.
    """
    own = settings.console
    if not may_carry_secrets(own.public_url):
        raise SettingsError(
            f"[console] public_url {own.public_url!r} would carry passwords in the clear", remedy="use https://"
        )
    keys, rules = keyring_of(settings.mfa), rules_of(settings.mfa)
    client = connect(settings.redis)
    engine = open_database(settings.database)
    archive = ArchiveReader(settings.archive, clock)
    try:
        sessions = StaffSessions(
            engine, clock, entropy, secure=own.public_url.startswith("https://"), idle=own.idle_minutes * MINUTE,
            lifetime=own.session_hours * HOUR,
        )  # fmt: skip
        desk = IncidentDesk(engine, audit, clock, own.claim_minutes * MINUTE)
        store = ChallengeStore(client, settings.redis.prefix)
        questions = CustomerQuestions(Challenges(store, keys, rules, clock, entropy, audit))
        users, limiter = Users(engine, keys, clock, entropy), ProcessRateLimiter()
        tokens, oidc = OneTimeTokens(engine, keys, clock, entropy), settings.oidc
        provider = IdentityProvider(oidc, own.public_url, clock, entropy) if oidc.issuer else None
        roles = roles_of(oidc.groups) if provider else {}
        pages = [
            SignInPages(users, sessions, limiter, audit, clock, own.name, provider).router(),
            OidcPages(provider, roles, tokens, users, sessions, limiter, audit, clock).router(),
            ConfirmPages(StepUp(users, sessions), audit).router(),
            ScorePages(settings.preview, audit, clock, entropy).router(),
        ]
        with _deciding(settings, engine, audit, clock, log) as deciding:
            yield _assembled(settings, pages, users, sessions, desk, questions, archive, deciding, audit, clock, log)
    finally:
        client.close()
        archive.close()
        engine.dispose()


@dataclass(frozen=True)
class Deciding:
    """What changes what decides: policy and models, and the processes that compute their figures."""

    policy: PolicyDesk
    runs: WhatifRuns
    models: ModelDesk
    computed: FigureJobs
    proofs: FigureJobs


@contextmanager
def _deciding(settings: Settings, engine: Engine, audit: Audit, clock: Clock, log: Any) -> Iterator[Deciding]:
    control = ControlTopic(settings)
    policy = PolicyDesk(control, settings.decisions, Proposals(engine, audit, clock, "policy"), clock)
    models = ModelDesk(control, settings, Proposals(engine, audit, clock, "models"), audit, clock)
    runs, computed = WhatifRuns(engine, audit, clock, settings, log), FigureJobs(clock, figures_of(settings))
    proving = FigureJobs(clock, {proofs.KIND: (proofs.prove_payment, (settings,))})
    try:
        yield Deciding(policy, runs, models, computed, proving)
    finally:
        proving.close()
        runs.close()
        computed.close()


def _assembled(
    settings: Settings, pages: list[APIRouter], users: Users, sessions: StaffSessions, desk: IncidentDesk,
    questions: CustomerQuestions, archive: ArchiveReader, deciding: Deciding, audit: Audit, clock: Clock, log: Any,
) -> Console:  # fmt: skip
    own, readiness = settings.console, Readiness()
    feed, streams = LiveFeed(settings, readiness, log), EventStreams(look_s=_LOOK_S)
    due_ms, step_up = own.due_hours * HOUR, StepUp(users, sessions)
    routers = [
        *pages,
        OwnPages(users, audit).router(),
        UserPages(users, audit, own.public_url).router(),
        QueuePages(desk, step_up, audit, clock, due_ms=due_ms, bulk_limit=own.bulk_limit).router(),
        CasePages(desk, questions, archive, audit, clock, due_ms=due_ms).router(),
        FindPages(archive, audit, clock).router(),
        ProofPages(deciding.proofs, settings.audit, audit).router(),
        ReportPages(archive, clock).router(),
        LivePages(feed, sessions, streams, audit).router(),
        PolicyPages(deciding.policy, archive, audit, clock).router(),
        DraftPages(deciding.policy, deciding.runs, step_up).router(),
        ModelPages(deciding.models, deciding.computed, step_up).router(),
        AuditPages(settings.audit, audit).router(),
    ]
    app = build_app(
        routers, ConsoleGuard(sessions, audit), public_url=own.public_url, name=own.name, clock=clock,
        readiness=readiness, log=log,
    )  # fmt: skip
    return Console(app, users, sessions, desk, feed, deciding, readiness)
