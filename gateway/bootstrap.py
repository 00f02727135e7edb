"""Wiring of the gateway from settings."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.middleware import Middleware

from access.audit import open_audit
from access.credentials import Credentials
from access.guard import Authorizer
from access.keyring import Entropy, keyring_of
from access.ports import AuditSink
from access.process_limits import ProcessRateLimiter
from access.tokens import Tokens
from access.web import token_router
from adapters.database import open_database
from adapters.event_streams import EventStreams
from adapters.extras import needs_extra
from adapters.http_protocol import ConnectionLimits
from adapters.http_server import Readiness, serve
from adapters.http_thread import ServerThread
from adapters.http_tls import TlsFiles
from adapters.logs import service_log
from adapters.metrics_app import metrics_app
from gateway.api import GatewayApi
from gateway.caller import GatewayGuard
from gateway.decision_gateway import DecisionGateway, GatewayHealth
from gateway.direct_route import DirectRoute
from gateway.log_reader import READING, WATCHING, Loops, read_fallback
from gateway.metrics import GatewayMetrics
from gateway.preview import PreviewService
from gateway.publisher import Publisher
from gateway.recent import RecentPayments
from gateway.web import build_app
from gateway.webhooks.api import WebhookApi
from gateway.webhooks.bootstrap import endpoints_of
from vedette.card_numbers import CardNumbers, CardTokens
from vedette.clock import SECOND, Clock, SystemClock
from vedette.errors import SettingsError
from vedette.settings import Settings
from vedette.settings_gateway import GatewaySettings

if TYPE_CHECKING:
    from gateway.iso8583.listener import CardListener


@dataclass(frozen=True)
class GatewayService:
    """The assembled parts of the service."""

    gateway: DecisionGateway
    loops: Loops
    credentials: Credentials
    metrics: GatewayMetrics
    readiness: Readiness
    app: FastAPI


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; call it from the main thread.

    Raises:
        SettingsError: The settings lack what the gateway needs.
    """
    clock, log, own = SystemClock(), service_log("gateway"), settings.gateway
    tls = tls_of(own)
    with (
        open_audit(settings.audit, clock, "gateway") as audit,
        wire(settings, clock=clock, entropy=os.urandom, audit=audit, log=log) as service,
        closing(_metrics_served(service, own, log)) as metrics,
    ):
        log.info(
            "gateway starts", listens=f"{own.host}:{own.port}", tls=tls is not None,
            metrics=f"{metrics.url}/metrics",
        )  # fmt: skip
        serve(
            service.app, {READING: service.loops.read, WATCHING: service.loops.watch}, host=own.host, port=own.port,
            proxies=own.proxies, readiness=service.readiness, log=log, tls=tls,
            limits=ConnectionLimits(connections=2 * own.in_flight),
        )  # fmt: skip


@contextmanager
def wire(settings: Settings, *, clock: Clock, entropy: Entropy, audit: AuditSink, log: Any) -> Iterator[GatewayService]:
    """Assemble the service, without its loops; close it afterwards.

    Args:
        settings: Settings of the deployment.
        clock: The clock.
        entropy: Source of unpredictable bytes.
        audit: The audit log.
        log: A structlog logger.

    Raises:
        SettingsError: The keyring or the policy file is missing, or has a mistake.
    """
    own, keys, metrics = settings.gateway, keyring_of(settings.mfa), GatewayMetrics()
    policy = read_fallback(settings.decisions.policy_file)
    recent = RecentPayments(own.lookback_s * SECOND, own.remember, entropy(32))
    publisher, readiness = Publisher(settings.kafka), Readiness()
    gateway = DecisionGateway(settings, recent, publisher, GatewayHealth(), clock, metrics)
    gateway.use(policy.fallback, f"{policy.name}@{policy.version}")
    previews = PreviewService(settings.preview)
    loops = Loops(settings, gateway, readiness, clock, log, publisher.connect)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        loop = asyncio.get_running_loop()
        publisher.start(loop)
        loops.start(loop)
        watching = loop.create_task(gateway.watch_loop())
        if cards is not None:
            await cards.start()
        yield
        watching.cancel()
        if cards is not None:
            await cards.close()
        await previews.close()
        await loop.run_in_executor(None, publisher.close)

    engine = open_database(settings.database)
    try:
        credentials = Credentials(engine, keys, clock, entropy)
        authorizer = Authorizer(credentials, Tokens(keys, clock, entropy), audit, ProcessRateLimiter(), clock)
        guard = GatewayGuard(authorizer, own.payments_per_s, entropy(32))
        cards = _card_listener(settings, gateway, guard, clock, metrics, log)
        api = GatewayApi(
            gateway, guard, own, metrics, EventStreams(of_session=50, in_all=200), previews, CardNumbers(settings.cards)
        )
        hooks = WebhookApi(endpoints_of(settings, engine, keys, clock, audit), engine, clock)
        app = build_app(
            [token_router(authorizer), api.router(guard.authorise), hooks.router(guard.authorise)], lifespan=lifespan,
            readiness=readiness,
            public_url=f"https://{own.host}" if own.certificate else "",
        )  # fmt: skip
        app.user_middleware.append(Middleware(DirectRoute, api=api, guard=guard))  # the last: behind the gate
        yield GatewayService(gateway, loops, credentials, metrics, readiness, app)
    finally:
        engine.dispose()


def _card_listener(
    settings: Settings, gateway: DecisionGateway, guard: GatewayGuard, clock: Clock, metrics: GatewayMetrics, log: Any
) -> "CardListener | None":
    """Return the listener for card switches; None if there is to be none."""
    if not settings.iso8583.port:
        return None
    with needs_extra("iso", "the listener of ISO 8583"):
        from gateway.iso8583.bootstrap import card_listener  # noqa: PLC0415, an optional extra
    own, tls = settings.iso8583, tls_of(settings.gateway)
    listener = card_listener(
        own,
        gateway,
        guard.charge,
        tls,
        CardTokens(settings.cards.key),
        CardNumbers(settings.cards),
        clock,
        metrics,
        log,
    )
    log.info("card switches are served", listens=f"{own.host}:{own.port}", tls=tls is not None)
    return listener


def tls_of(own: GatewaySettings) -> TlsFiles | None:
    """Return how the gateway speaks TLS, or None.

    Raises:
        SettingsError: Only some of the files are named.
    """
    if bool(own.certificate) != bool(own.certificate_key):
        raise SettingsError("[gateway] certificate and certificate_key go together", remedy="name both or neither")
    if own.client_ca and not own.certificate:
        raise SettingsError(
            "[gateway] client_ca asks for client certificates, which need TLS", remedy="name certificate and key"
        )
    return TlsFiles(own.certificate, own.certificate_key, own.client_ca) if own.certificate else None


def _metrics_served(service: GatewayService, own: GatewaySettings, log: Any) -> ServerThread:
    app = metrics_app("Vedette gateway metrics", service.metrics.registry, service.readiness, log)
    return ServerThread(app, own.metrics_host, own.metrics_port, setting="`[gateway] metrics_port`")
