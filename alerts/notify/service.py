"""The notifier: takes alerts in, lets the dispatcher tell of them, and couriers deliver; keeps house beside that."""

import asyncio
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

import msgspec
from sqlalchemy import Engine, func, select

from alerts.database.tables import events
from alerts.incidents import store
from alerts.notify import days, outbox
from alerts.notify.courier import Courier
from alerts.notify.dispatch import Dispatcher
from alerts.notify.events import EventPublisher
from alerts.notify.message import decode_alert
from alerts.notify.source import Record, Source
from vedette.clock import Clock
from vedette.errors import InputError
from vedette.events import Alert

_TAKE_S = 0.2
_IDLE_S = 0.1
_LOOK_S = 1.0
_HOUSE_S = 600.0


class Report(msgspec.Struct, frozen=True):
    """What one run did: messages recorded, rejects seen, messages settled, and messages still to be tried."""

    recorded: int
    rejected: int
    sent: int
    failed: int
    unknown: int
    unfinished: int


class Keeping(msgspec.Struct, frozen=True):
    """How long things are kept, in ms: open incidents that nobody touches, and what was sent."""

    incidents_ms: int
    messages_ms: int


def read(records: Sequence[Record], now: int) -> tuple[list[Alert], list[dict[str, Any]]]:
    """The alerts among records of the topic, and what is none, as rows for the database."""
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
    """Runs until told to stop, or until nothing is left to do.

    Args:
        alerts: Where alerts come from.
        decisions: Where decisions come from.
        engine: The database.
        couriers: One for each channel.
        dispatcher: Decides who is told.
        publisher: Brings labels to Kafka.
        keeping: How long.
        still_sole: Raises when another process may have taken over.
        clock: Tells the time.
        log: A structlog logger.
    """

    def __init__(
        self, *, alerts: Source, decisions: Source, engine: Engine, couriers: Sequence[Courier],
        dispatcher: Dispatcher, publisher: EventPublisher, keeping: Keeping, still_sole: Callable[[], None],
        clock: Clock, log: Any,
    ) -> None:  # fmt: skip
        self._alerts = alerts
        self._decisions = decisions
        self._engine = engine
        self._couriers = couriers
        self._dispatcher = dispatcher
        self._publisher = publisher
        self._keeping = keeping
        self._still_sole = still_sole
        self._clock = clock
        self._log = log
        self._dispatching = Lock()  # two looks at once could each tell of a part, and think that was all
        self._recorded = 0
        self._rejected = 0

    async def run(self, stop: asyncio.Event, until_idle_s: float = 0.0) -> Report:
        """Take in and deliver until `stop` is set; what is being sent then is finished, the rest stays recorded.

        Args:
            stop: Set it to end the run.
            until_idle_s: End also once no alert has come for this long and nothing is left to send; 0: never.
        """
        reached = asyncio.create_task(asyncio.to_thread(self._reach))
        tasks = [
            asyncio.create_task(self._take_alerts(stop, until_idle_s, reached)),
            asyncio.create_task(self._take_decisions(stop, reached)),
            asyncio.create_task(self._regularly(stop, _LOOK_S, self._dispatch)),
            asyncio.create_task(self._regularly(stop, _LOOK_S, self._publisher.step)),
            asyncio.create_task(self._regularly(stop, _HOUSE_S, self._keep_house)),
            *(asyncio.create_task(_deliver(courier, stop)) for courier in self._couriers),
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            # When one part fails the others finish what they hold, and only then is the failure passed on.
            stop.set()
            await asyncio.gather(*tasks, return_exceptions=True)
        settled = {status: sum(c.settled[status] for c in self._couriers) for status in ("sent", "failed", "unknown")}
        return Report(
            recorded=self._recorded, rejected=self._rejected, unfinished=await asyncio.to_thread(self._left), **settled
        )

    def _reach(self) -> None:
        for source in (self._alerts, self._decisions):
            source.check()

    async def _take_alerts(self, stop: asyncio.Event, until_idle_s: float, reached: "asyncio.Task[None]") -> None:
        await reached
        idle_since = self._clock.now_ms()
        while not stop.is_set():
            records = await asyncio.to_thread(self._alerts.take, _TAKE_S)
            now = self._clock.now_ms()
            if records:
                await asyncio.to_thread(self._take_in, records, now)
                await asyncio.to_thread(self._alerts.commit)
            if not until_idle_s:
                continue
            left = await asyncio.to_thread(self._left)
            if records or left or not self._alerts.assigned:
                idle_since = now
            elif now - idle_since >= 1000 * until_idle_s:
                stop.set()

    def _take_in(self, records: list[Record], now: int) -> None:
        alerts, rejects = read(records, now)
        with self._dispatching, self._engine.begin() as connection:
            outbox.reject(connection, rejects)
            store.join(connection, alerts, self._worth, now)
            self._recorded += self._dispatcher.run(connection, now)
        self._rejected += len(rejects)
        for reject in rejects:
            place = {key: reject[key] for key in ("topic", "partition", "offset", "reason")}
            self._log.error("alert rejected", **place)

    def _worth(self, alert: Alert) -> int:
        return self._dispatcher.routing.worth(alert.expected_loss, alert.currency)

    async def _take_decisions(self, stop: asyncio.Event, reached: "asyncio.Task[None]") -> None:
        await reached
        while not stop.is_set():
            records = await asyncio.to_thread(self._decisions.take, _TAKE_S)
            if records:
                await asyncio.to_thread(self._count, records)
                await asyncio.to_thread(self._decisions.commit)

    def _count(self, records: list[Record]) -> None:
        with self._engine.begin() as connection:
            days.count(connection, records)

    def _dispatch(self) -> None:
        with self._dispatching, self._engine.begin() as connection:
            self._recorded += self._dispatcher.run(connection, self._clock.now_ms())

    def _keep_house(self) -> None:
        self._still_sole()
        now = self._clock.now_ms()
        with self._engine.begin() as connection:
            expired = store.expire(connection, now - self._keeping.incidents_ms, now)
            purged = outbox.purge(connection, now - self._keeping.messages_ms)
            days.forget(connection)
        if expired or purged:
            self._log.info("kept house", incidents_expired=expired, messages_purged=purged)

    async def _regularly(self, stop: asyncio.Event, every_s: float, work: Callable[[], object]) -> None:
        while not stop.is_set():
            await asyncio.to_thread(work)
            try:
                await asyncio.wait_for(stop.wait(), every_s)
            except TimeoutError:
                continue

    def _left(self) -> int:
        """Messages still to be tried, and labels still to be published."""
        with self._engine.connect().execution_options(reads=True) as connection:
            waiting = connection.execute(select(func.count()).select_from(events)).scalar_one()
            return outbox.unfinished(connection) + waiting


async def _deliver(courier: Courier, stop: asyncio.Event) -> None:
    try:
        while not stop.is_set():
            if not await courier.step():
                await asyncio.sleep(_IDLE_S)
    finally:
        await courier.finish()
