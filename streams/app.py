"""The Faust app: three agents that hand batches to the runner, and nothing else."""

import asyncio
import contextlib
import os
import ssl
import tempfile
import threading
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import faust
from faust.serializers import codecs
from mode.supervisors import CrashingSupervisor

from streams.runner import Batch, Runner, Stopped
from vedette.settings import KafkaSettings, Settings
from vedette.topics import TAKEN_IN

_EVENTS_QUEUED = 64
_SHUTDOWN_S = 10.0


class _AsIs(codecs.Codec):
    """Batches pass through Faust as they are."""

    def _loads(self, s: Any) -> Any:
        return s

    def _dumps(self, s: Any) -> Any:
        return s


codecs.register("as_is", _AsIs())


def build_app(settings: Settings, runner: Runner) -> faust.App:
    """A Faust app that reads transactions, labels and activity in batches.

    Args:
        settings: Of the whole deployment.
        runner: Takes the batches.
    """
    worker = settings.worker
    servers = ";".join(f"batched://{server.strip()}" for server in settings.kafka.bootstrap_servers.split(","))
    app = faust.App(
        worker.group,
        broker=servers,
        broker_credentials=_credentials(settings.kafka),
        broker_session_timeout=worker.session_timeout_s,
        broker_heartbeat_interval=worker.session_timeout_s / 3,
        broker_request_timeout=max(40.0, 2 * worker.session_timeout_s),
        broker_max_poll_records=worker.batch_max // 2,  # a batch is up to two polls, see streams.transport
        broker_commit_interval=1.0,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=worker.instance or None,
        consumer_max_fetch_size=4 * 1024 * 1024,
        key_serializer="as_is",
        value_serializer="as_is",
        processing_guarantee="at_least_once",
        store="memory://",
        datadir=str(Path(tempfile.gettempdir()) / "vedette"),  # Faust insists on one and puts nothing there
        stream_buffer_maxsize=_EVENTS_QUEUED,
        stream_wait_empty=False,  # the runner drains itself; see on_partitions_revoked below
        topic_allow_declare=False,
        topic_disable_leader=True,
        topic_partitions=settings.topics.partitions,
        web_enabled=False,
        agent_supervisor=CrashingSupervisor,
    )
    app.vedette_runner = runner
    app.vedette_topic_prefix = settings.topics.prefix

    async def hand_over(stream: Any) -> None:
        batch: Batch
        with contextlib.suppress(Stopped):
            async for batch in stream:
                await _or_end(runner.submit(batch))

    for name in TAKEN_IN:
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
    """Stop the whole worker: it starts again from the watermark."""
    _end_in_time()
    asyncio.run_coroutine_threadsafe(app.crash(error), loop)


def _end_in_time() -> None:
    """End the process soon, whatever becomes of Faust's own shutdown, which after a crash may wait for ever.

    Nothing is lost by it: what is not in the store will be done again.
    """
    timer = threading.Timer(_SHUTDOWN_S, os._exit, (1,))
    timer.daemon = True
    timer.start()


def _credentials(kafka: KafkaSettings) -> Any:
    context = ssl.create_default_context(cafile=kafka.ca_file or None) if "SSL" in kafka.security_protocol else None
    if kafka.security_protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=kafka.username,
            password=kafka.password.value if kafka.password else "",
            ssl_context=context,
            mechanism=kafka.sasl_mechanism,
        )
    return faust.SSLCredentials(context=context) if context else None
