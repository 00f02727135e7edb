"""Wires a worker from real parts; the only place of this room that does."""

import gc
import logging
import sys
from pathlib import Path

import faust
import structlog

from features import NAMES, RedisStore
from models.scorer import load_scorer
from streams.app import build_app
from streams.control import Control
from streams.http import Endpoint
from streams.metrics import Metrics
from streams.panel import Panel
from streams.pipeline import Pipeline
from streams.policy import load_policy
from streams.publish import Publisher
from streams.runner import Runner
from streams.scoring import EVENT_COLUMNS, Judge
from streams.service import Service
from streams.warm import warm_up
from vedette import Clock, Settings

_SWITCH_S = 0.0005
_log = structlog.get_logger("vedette.worker")


def load_judge(model: Path, policy: Path) -> Judge:
    """A model folder and a policy file, checked against the catalogue.

    Raises:
        ModelError: The model does not fit.
        PolicyError: The policy is not valid.
    """
    return Judge(load_scorer(model), load_policy(policy, {*NAMES, *EVENT_COLUMNS}))


def run_worker(settings: Settings, clock: Clock) -> None:
    """Run a worker until it is told to stop; never returns.

    Raises:
        ModelError: The model does not fit.
        PolicyError: The policy is not valid.
        SettingsError: The port of the metrics is taken.
        UnavailableError: Redis or the broker does not answer, or the control topic is not there.
    """
    worker = settings.worker
    panel = Panel(load_judge(Path(worker.model), Path(worker.policy)))
    store = RedisStore(settings.redis)
    store.ping()
    warm_up(panel)
    metrics = Metrics()
    service = Service(settings.registry, panel, metrics, clock)
    control = Control(settings, service)
    control.start()
    pipeline = Pipeline(
        store=store,
        publisher=Publisher(settings.kafka, settings.topics.prefix),
        judges=service,
        partitions=settings.topics.partitions,
        prefix=settings.redis.prefix,
        cache_accounts=worker.cache_accounts,
        max_future_ms=worker.max_future_s * 1000,
    )
    runner = Runner(pipeline, metrics, clock, worker.stuck_after_s)
    app = build_app(settings, runner)
    endpoint = Endpoint(metrics, worker.metrics_host, worker.metrics_port)
    _log.info("worker starts", metrics=f"{endpoint.url}/metrics", **service.panel.about)
    runner.start_watchdog()
    # A batch is computed while the loop turns and others finish: none of them should wait long for its turn.
    sys.setswitchinterval(_SWITCH_S)
    # What is here now stays. Batches come and go without cycles: the collector need not look before there is more
    # than the batches in flight can hold, which it would search in vain.
    gc.freeze()
    gc.set_threshold(2_000_000, 10, 10)
    shell = faust.Worker(app, loglevel=logging.WARNING, override_logging=False, redirect_stdouts=False, quiet=True)
    shell.spinner = None  # it writes into the log, terminal or not
    shell.execute_from_commandline()
