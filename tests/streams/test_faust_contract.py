"""What streams/transport.py and streams/app.py rely on inside faust-streaming, aiokafka and mode."""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from importlib.metadata import distribution, entry_points, version
from typing import Any

import aiokafka
import faust
import mode
import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer import fetcher, group_coordinator
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from faust.transport import by_url, consumer
from faust.transport.drivers import aiokafka as driver
from faust.types import ConsumerMessage

from streams import transport
from streams.app import build_app
from streams.metrics import Metrics
from streams.runner import Runner
from tests.streams.conftest import MakePipeline, NewDeployment
from vedette import SystemClock

Consumer = driver.Consumer


@pytest.fixture
def app(deployment: NewDeployment, pipeline: MakePipeline) -> Iterator[faust.App]:
    """The worker's app, not started."""
    settings = deployment("a")
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    runner = Runner(pipeline(settings), Metrics(), SystemClock(), settings.worker.stuck_after_s)
    yield build_app(settings, runner)
    asyncio.set_event_loop(None)
    loop.close()


def parameters(function: Callable[..., Any]) -> list[str]:
    """Return the names of a function's parameters."""
    return list(inspect.signature(function).parameters)


def source(function: Any) -> str:
    """Return the text of a function."""
    return inspect.getsource(function)


def test_faust_is_the_pinned_release() -> None:
    """The installed release is the one whose internals are used and the one that the package requires."""
    assert version("faust-streaming") == "0.15.3"
    assert "faust-streaming==0.15.3" in (distribution("vedette").requires or [])


def test_transport_is_found_by_its_scheme() -> None:
    """Faust resolves `batched://` through the entry point to the transport that delivers batches."""
    registered = entry_points(group="faust.transports")["batched"]
    assert registered.value == "streams.transport:Transport"
    assert by_url("batched://localhost:9092") is transport.Transport
    assert transport.Transport.Consumer is transport.Consumer


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("getmany", ["self", "timeout"]),
        ("perform_seek", ["self"]),
        ("_wait_next_records", ["self", "timeout"]),
        ("_new_offset", ["self", "tp"]),
        ("_add_gap", ["self", "tp", "offset_from", "offset_to"]),
        ("_filter_tps_with_pending_acks", ["self", "topics"]),
        ("ack", ["self", "message"]),
        ("_new_consumer_thread", ["self"]),
        ("assignment", ["self"]),
        ("_getmany", ["self", "active_partitions", "timeout"]),
        ("earliest_offsets", ["self", "partitions"]),
        ("on_stop", ["self"]),
        ("verify_event_path", ["self", "now", "tp"]),
    ],
)
def test_hook_of_the_consumer_has_its_signature(name: str, expected: list[str]) -> None:
    """Every method of Faust's consumer that is overridden or called accepts its arguments."""
    assert parameters(getattr(Consumer, name)) == expected
    assert parameters(getattr(transport.Consumer, name)) == expected


def test_overridden_hooks_are_of_the_same_kind() -> None:
    """What Faust awaits is awaitable, what it iterates over is a generator, what it calls is a function."""
    for name, ours in vars(transport.Consumer).items():
        if theirs := getattr(Consumer, name, None):
            for kind in (inspect.iscoroutinefunction, inspect.isasyncgenfunction):
                if inspect.isfunction(theirs):
                    assert kind(ours) == kind(theirs), name


def test_consumer_keeps_the_books_that_are_written_to(app: faust.App) -> None:
    """The attributes of Faust's consumer that the transport reads or writes exist and have the expected form."""
    made: Any = transport.Transport([], app).create_consumer(
        app.topics.on_message,
        on_partitions_revoked=app._on_partitions_revoked,
        on_partitions_assigned=app._on_partitions_assigned,
    )
    assert isinstance(made, transport.Consumer)
    assert isinstance(made._thread, transport.ConsumerThread)
    assert made.flow_active is True
    assert made.should_stop is False
    assert made._buffered_partitions == set()
    assert dict(made._read_offset) == dict(made._committed_offset) == {}
    assert len(made._unacked_messages) == 0
    made._thread.thread_loop.close()


def test_getmany_is_where_the_fetcher_takes_messages_from() -> None:
    """The fetcher drains getmany, hands each message to the callback, and tells _add_gap of gaps."""
    drain = source(consumer.Consumer._drain_messages)
    assert "getmany = self.getmany\n" in drain
    assert "async for tp, message in ait" in drain
    assert "callback(message)" in drain
    assert "self._add_gap(tp, r_offset + 1, offset)" in drain
    assert "consumer._drain_messages(self)" in source(consumer.Fetcher._fetcher.fun)


def test_offsets_to_commit_come_from_the_overridden_hooks() -> None:
    """A commit asks _filter_tps_with_pending_acks for partitions and _new_offset for offsets, and nothing else."""
    assert "self._filter_tps_with_pending_acks(topics)" in source(consumer.Consumer.force_commit)
    assert "self._new_offset(tp)" in source(consumer.Consumer._filter_committable_offsets)
    assert "self._committed_offset[tp]" in source(consumer.Consumer._should_commit)


def test_recovery_seeks_after_every_assignment() -> None:
    """Without tables, every assignment leads to perform_seek before messages flow."""
    from faust.tables.recovery import Recovery  # noqa: PLC0415 — importing it early changes Faust's import order

    resume = source(Recovery._resume_streams)
    assert resume.index("consumer.perform_seek()") < resume.index("consumer.resume_flow()")


def test_assignor_can_be_replaced() -> None:
    """The strategy of aiokafka's consumer is the attribute that the transport replaces, and it is read at the start."""
    assert parameters(driver.AIOKafkaConsumerThread._create_worker_consumer) == ["self", "transport"]
    assert "self._partition_assignment_strategy = " in source(aiokafka.AIOKafkaConsumer.__init__)
    assert "assignors=self._partition_assignment_strategy" in source(aiokafka.AIOKafkaConsumer.start)
    assert RangePartitionAssignor.name == "range"


def test_messages_are_taken_where_the_transport_gives_them() -> None:
    """Faust takes messages from _getmany, under the flow control that the transport relies on."""
    wait = source(consumer.Consumer._wait_next_records)
    assert wait.index("self.wait(self.can_resume_flow") < wait.index("await self._getmany(")


def test_fetches_can_be_left_out() -> None:
    """Every fetch is sent by the client's method that the transport replaces; other requests are not held up by it."""
    assert "self._client = AIOKafkaClient(" in source(aiokafka.AIOKafkaConsumer.__init__)
    assert "FetchRequest(" in source(fetcher.Fetcher._get_actions_per_node)
    assert "response = await self._client.send(node_id, request)" in source(fetcher.Fetcher._proc_fetch_request)
    assert "except asyncio.CancelledError:" in source(fetcher.Fetcher._proc_fetch_request)
    assert parameters(AIOKafkaClient.send) == ["self", "node_id", "request", "group"]


def test_member_that_fetches_nothing_is_not_stuck() -> None:
    """A member that has not fetched for long is ended, unless it is inside the context that is entered."""

    async def idle_times() -> tuple[float, float]:
        state = SubscriptionState()
        with state.fetch_context():
            inside = state.fetcher_idle_time
        state._last_fetch_ended = 0.0
        return inside, state.fetcher_idle_time

    inside, outside = asyncio.run(idle_times())
    assert inside == 0 < outside
    assert "self._subscription.fetcher_idle_time" in source(group_coordinator)


def test_message_that_carries_a_batch_can_be_made() -> None:
    """Faust accepts every argument that the transport passes."""
    given = {
        "topic", "partition", "offset", "timestamp", "timestamp_type", "headers", "key", "value", "checksum",
        "serialized_key_size", "serialized_value_size", "tp", "generation_id",
    }  # fmt: skip
    assert given <= set(parameters(ConsumerMessage.__init__))


def test_settings_that_the_app_relies_on_exist(app: faust.App) -> None:
    """Faust accepts and keeps the settings."""
    conf = app.conf
    assert conf.stream_wait_empty is False
    assert conf.topic_disable_leader is True
    assert conf.topic_allow_declare is False
    assert conf.web_enabled is False
    assert conf.agent_supervisor is mode.CrashingSupervisor
    assert str(conf.processing_guarantee) == "ProcessingGuarantee.AT_LEAST_ONCE"
    assert conf.broker_max_poll_records == 8000
    assert (conf.broker_session_timeout, conf.broker_heartbeat_interval) == (6.0, 2.0)
    assert conf.broker_session_timeout <= conf.broker_request_timeout
