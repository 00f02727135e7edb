"""Wiring of the preview service, apart from the worker's: it needs a web framework, which costs a worker's start."""

import structlog

from adapters.http_server import Readiness, serve
from decisions.rollout import Rollout
from features.identity import identity_of
from features.store import RedisStore
from streams.active_strategies import ActiveStrategies
from streams.bootstrap import strategy_of
from streams.control import Control
from streams.metrics import Metrics
from streams.preview import Previews
from streams.preview_http import build_preview_app
from streams.warmup import warm_up
from vedette import Clock, Settings
from vedette.card_numbers import CardNumbers
from vedette.errors import SettingsError


def run_preview(settings: Settings, clock: Clock) -> None:
    """Serve previews until SIGTERM or SIGINT; call it from the main thread.

    Raises:
        ModelError: The model does not fit.
        PolicyError: The policy is not valid.
        SettingsError: There is no token.
        UnavailableError: Redis or the broker does not answer, or a topic is missing.
    """
    own = settings.preview
    if own.token is None:
        raise SettingsError("[preview] token is not set", remedy="name a file with a long random text in token_file")
    token, identity = own.token.value, identity_of(settings.identity)
    rollout = Rollout(strategy_of(settings))
    store = RedisStore(settings.redis)
    store.ping()
    warm_up(rollout)
    # Neither metrics nor decisions of it leave this process: it follows what the workers are told to use.
    strategies = ActiveStrategies(settings.registry, rollout, Metrics(), clock)
    control = Control(settings, strategies)
    control.start()
    previews = Previews(
        store, strategies, partitions=settings.topics.partitions, prefix=settings.redis.prefix,
        max_future_ms=settings.worker.max_future_s * 1000, label_delay=settings.features.label_delay,
        identity=identity, clock=clock, cards=CardNumbers(settings.cards),
    )  # fmt: skip
    for partition in range(settings.topics.partitions):
        store.check_identity(partition, identity.fingerprint)
    log, readiness = structlog.get_logger("vedette.preview"), Readiness()
    log.info("preview service starts", listens=f"{own.host}:{own.port}", **strategies.rollout.versions)
    try:
        serve(
            build_preview_app(previews, token, readiness), {}, host=own.host, port=own.port, proxies=[],
            readiness=readiness, log=log,
        )  # fmt: skip
    finally:
        control.close()
