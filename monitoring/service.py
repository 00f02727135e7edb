"""The monitor as a service: metrics for Prometheus, and the receiver of Alertmanager's posts."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from sqlalchemy import Engine

from adapters.database import database_errors, open_database
from adapters.http_server import Readiness, serve
from adapters.logs import service_log
from adapters.metrics_app import metrics_app
from adapters.redis import connect
from alerts.notify import operations
from alerts.notify.bootstrap import read_checked_routing
from alerts.notify.operations import OperationsAlert
from alerts.notify.rendering import Renderer
from monitoring import files, outbox, redis_server
from monitoring.consumer_groups import ConsumerGroups
from monitoring.probes import Probe, Probes
from monitoring.receiver import Take, receiver
from vedette.clock import Clock, SystemClock
from vedette.errors import SettingsError
from vedette.settings import Settings

_LOOP = "probes"


def run(settings: Settings) -> None:
    """Run the monitor until SIGTERM or SIGINT; call it from the main thread.

    Raises:
        SettingsError: The token or the recipients are missing, or the routing does not know a recipient.
    """
    clock, log, own = SystemClock(), service_log("monitor"), settings.monitor
    with ExitStack() as stack:
        engine = open_database(settings.database)
        stack.callback(engine.dispose)
        take = operations_of(settings, engine, clock)
        redis = connect(settings.redis)
        stack.callback(redis.close)
        probes = Probes(probes_of(settings, redis, engine, clock), clock, log)
        app = metrics_app("Vedette monitor", probes, Readiness(), log)
        if take and own.token:
            app.include_router(receiver(own.token, take, log))
        log.info("monitor starts", metrics=f"http://{own.host}:{own.port}/metrics", receiver=bool(take))
        serve(app, {_LOOP: probes.run}, host=own.host, port=own.port, proxies=[], readiness=Readiness(), log=log)


def probes_of(settings: Settings, redis: Any, engine: Engine, clock: Clock) -> list[Probe]:
    """Return the probes of a deployment."""
    own = settings.monitor
    logs, certificates = files.audit_logs(settings), files.certificates(settings)
    probes = [
        Probe("redis", partial(redis_server.look, redis), own.every_s),
        Probe("kafka", ConsumerGroups(settings, clock).look, own.every_s),
        Probe("database", partial(outbox.look, engine, settings.database.url, clock), own.every_s),
        Probe("certificates", partial(files.look_at_certificates, certificates), own.every_s),
        Probe("disks", partial(files.look_at_disks, own.folders), own.every_s),
    ]
    if settings.audit.key:
        probes.append(Probe("audit", partial(files.look_at_audit, logs), own.audit_every_s))
    return probes


def operations_of(settings: Settings, engine: Engine, clock: Clock) -> Take | None:
    """Return what writes messages about Alertmanager's alerts; None if no recipients are named.

    Raises:
        SettingsError: The token is missing, or the routing does not know a recipient.
    """
    own = settings.monitor
    if not own.recipients:
        return None
    if own.token is None:
        raise SettingsError(
            "[monitor] recipients is set, and token, which Alertmanager shows, is not",
            remedy="put `openssl rand -hex 32` into the file that token_file names, and name it in alertmanager.yml",
        )
    routing = read_checked_routing(settings, Renderer(settings.notify.templates))
    operations.check_recipients(routing, own.recipients)

    def take(alerts: Sequence[OperationsAlert]) -> int:
        with database_errors(settings.database.url), engine.begin() as connection:
            return operations.notify(connection, alerts, routing, own.recipients, clock.now_ms())

    return take
