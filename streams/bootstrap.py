"""Wiring of a worker; the only module of this package that does it."""

import logging
import sys
from functools import partial
from pathlib import Path

import faust
import structlog

from adapters.dead_letters import DeadLetters
from decisions.policy_file import load_policy
from decisions.rollout import Rollout
from decisions.strategy import EVENT_COLUMNS, Strategy
from features.catalogue import NAMES
from features.identity import identity_of
from features.store import RedisStore
from models.scorer import check_label_delay, load_scorer
from streams.active_strategies import ActiveStrategies
from streams.app import build_app
from streams.control import Control
from streams.http import Endpoint, answer_of_worker
from streams.metrics import Metrics
from streams.own_decisions import DecisionLog
from streams.pipeline import Pipeline
from streams.publish import ResultPublisher
from streams.runner import Runner
from streams.topic_check import check_topics
from streams.warmup import keep_pandas_out, relieve_collector, warm_up
from vedette import Clock, Settings
from vedette.card_numbers import CardNumbers

_SWITCH_S = 0.0005
_log = structlog.get_logger("vedette.worker")


def load_strategy(model: Path, policy: Path, label_delay_days: int = 7) -> Strategy:
    """Return a model folder and a policy file, checked against the catalogue and the label delay.

    Raises:
        ModelError: The model does not fit.
        PolicyError: The policy is not valid.
    """
    scorer = load_scorer(model)
    check_label_delay(scorer, label_delay_days)
    return Strategy(scorer, load_policy(policy, {*NAMES, *EVENT_COLUMNS}))


def strategy_of(settings: Settings) -> Strategy:
    """Return the model folder and the policy file of the settings; see load_strategy."""
    chosen, delay = settings.decisions, settings.features.label_delay_days
    return load_strategy(chosen.model_folder, chosen.policy_file, delay)


def run_worker(settings: Settings, clock: Clock) -> None:
    """Run a worker until it is asked to stop; never returns.

    Raises:
        ModelError: The model does not fit.
        PolicyError: The policy is not valid.
        SettingsError: A key is missing or too short, the port of the metrics is in use, or the topics have a different
            number of partitions.
        UnavailableError: Redis or the broker does not answer, or a topic is missing.
    """
    keep_pandas_out()
    worker, identity, cards = settings.worker, identity_of(settings.identity), CardNumbers(settings.cards)
    rollout = Rollout(strategy_of(settings))
    store = RedisStore(settings.redis)
    store.ping()
    limits = check_topics(settings)
    warm_up(rollout)
    metrics = Metrics()
    strategies = ActiveStrategies(settings.registry, rollout, metrics, clock)
    control = Control(settings, strategies)
    control.start()
    pipeline = Pipeline(
        store=store,
        decisions=DecisionLog(settings),
        publisher=ResultPublisher(settings.kafka, settings.topics.prefix, limits, DeadLetters(settings.cards)),
        strategies=strategies,
        partitions=settings.topics.partitions,
        prefix=settings.redis.prefix,
        cache_accounts=worker.cache_accounts,
        max_future_ms=worker.max_future_s * 1000,
        label_delay=settings.features.label_delay,
        identity=identity,
        cards=cards,
    )
    runner = Runner(pipeline, metrics, clock, worker.stuck_after_s)
    app = build_app(settings, runner)
    endpoint = Endpoint(partial(answer_of_worker, metrics), worker.metrics_host, worker.metrics_port)
    if settings.identity.key is None:
        _log.warning("[identity] key is not set: whoever reads Redis can find accounts and devices by trying names")
    _log.info("worker starts", metrics=f"{endpoint.url}/metrics", **strategies.rollout.versions)
    runner.watchdog.start()
    # A batch is computed while the event loop runs and others finish: none of them should wait long for the GIL.
    sys.setswitchinterval(_SWITCH_S)
    relieve_collector()
    shell = faust.Worker(app, loglevel=logging.WARNING, override_logging=False, redirect_stdouts=False, quiet=True)
    shell.spinner = None  # it writes to the log even without a terminal
    try:
        shell.execute_from_commandline()
    finally:
        endpoint.close()
