"""The Faust app: three agents that only pass batches to the runner."""

import asyncio
import contextlib
import os
import tempfile
import threading
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import faust
from faust.serializers import codecs
from mode.supervisors import CrashingSupervisor

from streams.credentials import broker_credentials, broker_options
from streams.retry import Stopped
from streams.runner import Batch, Runner
from vedette.settings import Settings
from vedette.topics import WORKER_INPUTS

_EVENTS_QUEUED = 64
_SHUTDOWN_S = 10.0


class _AsIs(codecs.Codec):
    """A codec that passes batches through Faust unchanged."""

    def _loads(self, s: Any) -> Any:
        return s

    def _dumps(self, s: Any) -> Any:
        return s


codecs.register("as_is", _AsIs())


def build_app(settings: Settings, runner: Runner) -> faust.App:
    """Return a Faust app that reads transactions, labels and activity in batches.

    Args:
        settings: The settings of the deployment.
        runner: Takes the batches.
    """
    worker = settings.worker
    servers = ";".join(f"batched://{server.strip()}" for server in settings.kafka.bootstrap_servers.split(","))
    app = faust.App(
        worker.group,
        broker=servers,
        broker_credentials=broker_credentials(settings.kafka),
        broker_session_timeout=worker.session_timeout_s,
        broker_heartbeat_interval=worker.session_timeout_s / 3,
        broker_max_poll_records=worker.batch_max,
        broker_commit_interval=1.0,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=worker.instance or None,
        key_serializer="as_is",
        value_serializer="as_is",
        processing_guarantee="at_least_once",
        store="memory://",
        datadir=str(Path(tempfile.gettempdir()) / "vedette"),  # Faust requires one but does not use it
        stream_buffer_maxsize=_EVENTS_QUEUED,
        stream_wait_empty=False,  # the runner drains itself; see on_partitions_revoked below
        topic_allow_declare=False,
        topic_disable_leader=True,
        topic_partitions=settings.topics.partitions,
        web_enabled=False,
        agent_supervisor=CrashingSupervisor,
        **{
            "broker_request_timeout": max(40.0, 2 * worker.session_timeout_s),
            **broker_options(settings.kafka),
        },
    )
    app.vedette_runner = runner
    app.vedette_topic_prefix = settings.topics.prefix
    app.vedette_kafka = settings.kafka

    async def hand_over(stream: Any) -> None:
        batch: Batch
        with contextlib.suppress(Stopped):
            async for batch in stream:
                await _or_end(runner.submit(batch))

    for name in WORKER_INPUTS:
        topic = app.topic(settings.topics.prefix + name, key_serializer="as_is", value_serializer="as_is")
        app.agent(topic, name=f"vedette.{name}", concurrency=1)(hand_over)

    @app.on_partitions_revoked.connect
    async def finish_in_flight(_: faust.App, revoked: Any, **__: Any) -> None:
        del revoked
        await runner.drain()
        runner.revoked()

    @app.on_before_shutdown.connect
    async def finish_and_stop(_: faust.App, **__: Any) -> None:
        runner.stop()
        await runner.drain()

    @app.task
    async def beat() -> None:
        loop = asyncio.get_running_loop()
        runner.on_failure = lambda error: _crash(app, loop, error)
        await runner.beat()

    @app.task
    async def look() -> None:
        await _or_end(runner.look())

    @app.task
    async def gather() -> None:
        with contextlib.suppress(Stopped):
            await _or_end(runner.gather())

    return app


async def _or_end(work: Awaitable[None]) -> None:
    try:
        await work
    except Stopped:
        raise
    except Exception:
        _end_in_time()
        raise


def _crash(app: faust.App, loop: asyncio.AbstractEventLoop, error: BaseException) -> None:
    """Stop the whole worker, which restarts from the watermark."""
    _end_in_time()
    asyncio.run_coroutine_threadsafe(app.crash(error), loop)


def _end_in_time() -> None:
    """End the process soon, regardless of Faust's shutdown, which may wait forever after a crash.

    Nothing is lost: batches that are not in the store are processed again.
    """
    timer = threading.Timer(_SHUTDOWN_S, os._exit, (1,))
    timer.daemon = True
    timer.start()
