"""The notifier: records alerts as messages, commits their offsets, and lets one courier per channel deliver them."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from alerts.notify.courier import Courier
from alerts.notify.ledger import Ledger, Reject
from alerts.notify.message import ChannelName, Message, Renderer, decode_alert
from alerts.notify.source import AlertSource, Record
from vedette.clock import Clock
from vedette.errors import InputError

_TAKE_S = 0.2
_IDLE_S = 0.1


class Report(msgspec.Struct, frozen=True):
    """What one run did: messages recorded, rejects seen, messages settled, and messages still to be tried."""

    recorded: int
    rejected: int
    sent: int
    failed: int
    unknown: int
    unfinished: int


Recipients = Sequence[tuple[ChannelName, str]]


def read(
    records: Iterable[Record], recipients: Recipients, renderer: Renderer, now: int
) -> tuple[list[Message], list[Reject]]:
    """The messages that records of the topic ask for, and the records that are no alerts."""
    messages: list[Message] = []
    rejects: list[Reject] = []
    for record in records:
        try:
            alert = decode_alert(record.value)
        except InputError as error:
            rejects.append(Reject(record.topic, record.partition, record.offset, str(error), record.value))
            continue
        messages += [renderer.render(alert, channel, recipient, now) for channel, recipient in recipients]
    return messages, rejects


class Notifier:
    """Runs until told to stop, or until nothing is left to do.

    Args:
        source: Where alerts come from.
        ledger: Where their messages are kept.
        couriers: One for each channel.
        recipients: Who is told on which channel.
        renderer: Puts alerts into words.
        clock: Tells the time.
        log: A structlog logger.
    """

    def __init__(
        self,
        *,
        source: AlertSource,
        ledger: Ledger,
        couriers: Sequence[Courier],
        recipients: Recipients,
        renderer: Renderer,
        clock: Clock,
        log: Any,
    ) -> None:
        self._source = source
        self._ledger = ledger
        self._couriers = couriers
        self._recipients = recipients
        self._renderer = renderer
        self._clock = clock
        self._log = log
        self._recorded = 0
        self._rejected = 0

    async def run(self, stop: asyncio.Event, until_idle_s: float = 0.0) -> Report:
        """Record and deliver until `stop` is set; the message being sent then is finished, the rest stays recorded.

        Args:
            stop: Set it to end the run.
            until_idle_s: End also once no alert has come for this long and nothing is left to send; 0: never.
        """
        tasks = [
            asyncio.create_task(self._take_in(stop, until_idle_s)),
            *(asyncio.create_task(_deliver(courier, stop)) for courier in self._couriers),
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            # When one part fails the others finish what they hold, and only then is the failure passed on.
            stop.set()
            await asyncio.gather(*tasks, return_exceptions=True)
        settled = {status: sum(c.settled[status] for c in self._couriers) for status in ("sent", "failed", "unknown")}
        return Report(recorded=self._recorded, rejected=self._rejected, unfinished=self._ledger.unfinished(), **settled)

    async def _take_in(self, stop: asyncio.Event, until_idle_s: float) -> None:
        idle_since = self._clock.now_ms()
        while not stop.is_set():
            records = await asyncio.to_thread(self._source.take, _TAKE_S)
            now = self._clock.now_ms()
            if records:
                self._record(records, now)
                await asyncio.to_thread(self._source.commit)
            if records or not self._source.assigned or self._ledger.unfinished():
                idle_since = now
            elif until_idle_s and now - idle_since >= 1000 * until_idle_s:
                stop.set()

    def _record(self, records: list[Record], now: int) -> None:
        messages, rejects = read(records, self._recipients, self._renderer, now)
        self._recorded += self._ledger.record(messages, rejects, now)
        self._rejected += len(rejects)
        for reject in rejects:
            self._log.error(
                "alert rejected",
                topic=reject.topic,
                partition=reject.partition,
                offset=reject.offset,
                reason=reject.reason,
            )


async def _deliver(courier: Courier, stop: asyncio.Event) -> None:
    while not stop.is_set():
        if not await courier.step():
            await asyncio.sleep(_IDLE_S)
