"""The notifier: consumes alerts, lets the dispatcher write messages and the channel workers deliver them."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import msgspec
from sqlalchemy import Engine, func, select

from adapters.channels.message import decode_alert
from adapters.kafka_consumer import GroupConsumer, KafkaMessage
from alerts.incidents import store
from alerts.notify import daily_totals, failures, outbox
from alerts.notify.channel_worker import ChannelWorker
from alerts.notify.dispatch import Dispatcher
from alerts.notify.events import EventPublisher
from alerts.notify.failures import ComponentFailure
from alerts.tables import events
from vedette.clock import Clock
from vedette.errors import InputError
from vedette.events import Alert

_TAKE_S = 1.0
_DISPATCH_S = 1.0
_HOUSEKEEPING_S = 600.0


class NotifierReport(msgspec.Struct, frozen=True):
    """Result of a run: messages recorded, rejects, messages finished, and messages still to be tried."""

    recorded: int
    rejected: int
    sent: int
    failed: int
    unknown: int
    unfinished: int


class Retention(msgspec.Struct, frozen=True):
    """Retention in ms of open incidents without an action, and of sent messages."""

    incidents_ms: int
    messages_ms: int


def read(records: Sequence[KafkaMessage], now: int) -> tuple[list[Alert], list[dict[str, Any]]]:
    """Return the alerts among records of the topic, and the other records as rows for the table of rejects."""
    alerts: list[Alert] = []
    rejects: list[dict[str, Any]] = []
    for record in records:
        try:
            alerts.append(decode_alert(record.value))
        except InputError as error:
            place = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
            rejects.append(place | {"reason": str(error), "value": record.value, "seen_at": now})
    return alerts, rejects


class Notifier:
    """Runs until it is stopped, or until nothing is left to do.

    Args:
        alerts: Reads the topic of alerts.
        decisions: Reads the topic of decisions.
        engine: The database.
        workers: One for each channel.
        dispatcher: Determines the recipients.
        publisher: Publishes labels on Kafka.
        retention: Retention of incidents and messages.
        still_sole: Raises an error when another process may have taken over.
        clock: Tells the time.
        log: A structlog logger.
    """

    def __init__(
        self, *, alerts: GroupConsumer, decisions: GroupConsumer, engine: Engine, workers: Sequence[ChannelWorker],
        dispatcher: Dispatcher, publisher: EventPublisher, retention: Retention, still_sole: Callable[[], None],
        clock: Clock, log: Any,
    ) -> None:  # fmt: skip
        self._alerts = alerts
        self._decisions = decisions
        self._engine = engine
        self._workers = workers
        self._dispatcher = dispatcher
        self._publisher = publisher
        self._retention = retention
        self._still_sole = still_sole
        self._clock = clock
        self._log = log
        self._dispatching = Lock()  # two simultaneous passes could each notify of a part of the alerts
        self._recorded = 0
        self._rejected = 0

    async def run(self, stop: asyncio.Event, until_idle_s: float = 0.0) -> NotifierReport:
        """Consume and deliver until `stop` is set; messages in progress are finished, the others stay recorded.

        Args:
            stop: Set it to end the run.
            until_idle_s: End also once no alert has come for this long and nothing is left to send; 0: never.
        """
        reached = asyncio.create_task(asyncio.to_thread(self._reach))
        tasks = [
            asyncio.create_task(self._take_alerts(stop, until_idle_s, reached)),
            asyncio.create_task(self._take_decisions(stop, reached)),
            asyncio.create_task(self._dispatch_regularly(stop)),
            asyncio.create_task(self._regularly(stop, _DISPATCH_S, self._publisher.step)),
            asyncio.create_task(self._regularly(stop, _HOUSEKEEPING_S, self._clean_up)),
            asyncio.create_task(self._wake_at_end(stop)),
            *(asyncio.create_task(worker.run(stop)) for worker in self._workers),
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            # When one part fails the others finish what they hold, and only then is the failure passed on.
            stop.set()
            await asyncio.gather(*tasks, return_exceptions=True)
        settled = {
            status: sum(worker.settled[status] for worker in self._workers) for status in ("sent", "failed", "unknown")
        }
        return NotifierReport(
            recorded=self._recorded, rejected=self._rejected, unfinished=await asyncio.to_thread(self._left), **settled
        )

    def _reach(self) -> None:
        for source in (self._alerts, self._decisions):
            source.check()

    async def _take_alerts(self, stop: asyncio.Event, until_idle_s: float, reached: "asyncio.Task[None]") -> None:
        await reached
        reader = _ReaderState("reader alerts")
        idle_since = self._clock.now_ms()
        while not stop.is_set():
            records = await self._next(self._alerts, reader)
            now = self._clock.now_ms()
            if records:
                if await asyncio.to_thread(self._take_in, records, now):
                    self._wake_workers()
                await asyncio.to_thread(self._alerts.commit)
            if not until_idle_s:
                continue
            left = await asyncio.to_thread(self._left)
            if records or left or not self._alerts.assigned:
                idle_since = now
            elif now - idle_since >= 1000 * until_idle_s:
                stop.set()

    async def _take_decisions(self, stop: asyncio.Event, reached: "asyncio.Task[None]") -> None:
        await reached
        reader = _ReaderState("reader decisions")
        while not stop.is_set():
            if records := await self._next(self._decisions, reader):
                await asyncio.to_thread(self._count, records)
                await asyncio.to_thread(self._decisions.commit)

    async def _next(self, consumer: GroupConsumer, reader: "_ReaderState") -> list[KafkaMessage]:
        """Take the next messages. A failed consumer replaces itself; the failure is recorded."""
        records = await asyncio.to_thread(consumer.take, _TAKE_S)
        if consumer.problem != reader.problem:
            reader.problem = consumer.problem
            await asyncio.to_thread(self._write_problem, reader)
        return records

    def _write_problem(self, reader: "_ReaderState") -> None:
        now = self._clock.now_ms()
        with self._engine.begin() as connection:
            if not reader.problem:
                failures.clear(connection, reader.component)
                return
            failure = ComponentFailure(
                component=reader.component, since=now, code="kafka", reason=reader.problem, remedy="check the broker",
                retry_at=now,
            )  # fmt: skip
            failures.report(connection, failure)

    def _take_in(self, records: list[KafkaMessage], now: int) -> int:
        """Process records of the topic of alerts; return the number of messages written."""
        alerts, rejects = read(records, now)
        with self._dispatching, self._engine.begin() as connection:
            outbox.reject(connection, rejects)
            store.join(connection, alerts, self._value_of, now)
            recorded = self._dispatcher.run(connection, now)
        self._recorded += recorded
        self._rejected += len(rejects)
        for reject in rejects:
            place = {key: reject[key] for key in ("topic", "partition", "offset", "reason")}
            self._log.error("alert rejected", **place)
        return recorded

    def _value_of(self, alert: Alert) -> int:
        return self._dispatcher.routing.value_of(alert.expected_loss, alert.currency)

    def _count(self, records: list[KafkaMessage]) -> None:
        with self._engine.begin() as connection:
            daily_totals.count(connection, records)

    async def _dispatch_regularly(self, stop: asyncio.Event) -> None:
        """Dispatch due messages, and wake the workers: another process may have added messages to the outbox."""
        while not stop.is_set():
            if await asyncio.to_thread(self._dispatch):
                self._wake_workers()
            await _wait(stop, _DISPATCH_S)

    def _dispatch(self) -> bool:
        """Return whether there are messages to send."""
        now = self._clock.now_ms()
        with self._dispatching, self._engine.begin() as connection:
            self._recorded += self._dispatcher.run(connection, now)
            return outbox.has_due(connection, (worker.channel for worker in self._workers), now)

    def _wake_workers(self) -> None:
        for worker in self._workers:
            worker.wake()

    async def _wake_at_end(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake_workers()

    def _clean_up(self) -> None:
        self._still_sole()
        now = self._clock.now_ms()
        with self._engine.begin() as connection:
            expired = store.expire(connection, now - self._retention.incidents_ms, now)
            purged = outbox.purge(connection, now - self._retention.messages_ms)
            daily_totals.forget(connection)
        if expired or purged:
            self._log.info("cleaned up", incidents_expired=expired, messages_purged=purged)

    async def _regularly(self, stop: asyncio.Event, every_s: float, work: Callable[[], object]) -> None:
        while not stop.is_set():
            await asyncio.to_thread(work)
            await _wait(stop, every_s)

    def _left(self) -> int:
        """Return the number of messages still to be tried and labels still to be published."""
        with self._engine.connect().execution_options(reads=True) as connection:
            waiting = connection.execute(select(func.count()).select_from(events)).scalar_one()
            return outbox.unfinished(connection) + waiting


@dataclass(slots=True)
class _ReaderState:
    """The recorded state of a reader: its name and its problem."""

    component: str
    problem: str = ""


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
