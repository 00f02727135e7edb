"""The worker of one channel: sends many messages at the same time, and writes their outcomes to the outbox."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from functools import partial
from random import Random
from typing import Any

from sqlalchemy import Connection, Engine

from adapters.channels.channel import Channel, ChannelDown, DoubtfulMessage, Retry, SendOutcome
from adapters.channels.target import ChannelName, Target
from alerts.incidents import store
from alerts.notify import failures, outbox, receipts
from alerts.notify.failures import ComponentFailure
from alerts.notify.outbox import OutboxEntry
from alerts.notify.retry_policy import ChannelPause, OutboxChange, RetryPolicy, decide, missing, unanswered
from vedette.clock import Clock
from vedette.errors import UnavailableError

_Changes = list[tuple[OutboxEntry, OutboxChange]]

_PATIENCE_S = 0.1  # maximum time that messages in progress delay leasing those that are due
_LOOKED_UP = 250  # messages per look-up, the cost of which hardly depends on their number
_GATHER_S = 0.01  # outcomes that arrive this soon after one another are written in one transaction
_SHORTEST_WAIT_S = 0.01


class ChannelWorker:
    """Delivers the messages that the outbox holds for one channel.

    Writing outcomes and claiming due messages is one transaction, so that a burst needs few writes to disk.

    Args:
        channel: The channel.
        targets: Addresses, by recipient.
        engine: The database with the outbox.
        policy: The retry policy.
        parallel: Maximum number of messages in progress.
        clock: Clock for due messages.
        random: Source of the jitter.
        log: A structlog logger; it never receives an address.
    """

    def __init__(
        self, *, channel: Channel, targets: Mapping[str, Target], engine: Engine, policy: RetryPolicy, parallel: int,
        clock: Clock, random: Random, log: Any,
    ) -> None:  # fmt: skip
        self._channel = channel
        self._targets = targets
        self._engine = engine
        self._policy = policy
        self._parallel = parallel
        self._clock = clock
        self._random = random
        self._log = log.bind(channel=channel.name)
        self._under_way: set[asyncio.Task[_Changes]] = set()
        self._look_up_task: asyncio.Task[_Changes] | None = None
        self._pause = ChannelPause(policy, random)
        self._reported: object = self  # the setback recorded in the database; unknown at first
        self._next_due = outbox.NextDue(None, None)
        self._woken = asyncio.Event()
        self.settled: Counter[str] = Counter()

    @property
    def channel(self) -> ChannelName:
        """The channel's name."""
        return self._channel.name

    def wake(self) -> None:
        """Check for messages now; call it from the event loop."""
        self._woken.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until `stop` is set and the worker is woken."""
        try:
            while not stop.is_set():
                self._woken.clear()
                if not await self.step():
                    await self._rest()
        finally:
            await self.finish()

    async def _rest(self) -> None:
        """Wait until woken, or until a message is due and the channel may be used."""
        due = (
            (self._next_due.any, self._pause.until),
            (self._next_due.urgent, self._pause.urgent_until),
        )
        possible = [max(message, channel) for message, channel in due if message is not None]
        timeout = None
        if possible:
            timeout = max((min(possible) - self._clock.now_ms()) / 1000, _SHORTEST_WAIT_S)
        try:
            await asyncio.wait_for(self._woken.wait(), timeout)
        except TimeoutError:
            return

    async def step(self) -> bool:
        """Write finished attempts to the outbox, and begin due ones. Return False when there is nothing to do now."""
        changes = await self._finished()
        doubtful, due = await self._exchange(changes)
        if doubtful:
            self._look_up_task = asyncio.create_task(self._look_up(doubtful))
            self._under_way.add(self._look_up_task)
        self._under_way |= {asyncio.create_task(self._send(entry, self._pause.round)) for entry in due}
        return bool(changes or self._under_way)

    async def finish(self) -> None:
        """Claim nothing more, write the outcomes of attempts in progress, and close the channel."""
        try:
            while self._under_way:
                await self._exchange(await self._finished(), claims=False)
        finally:
            await self._channel.close()

    async def _finished(self) -> _Changes:
        """Return the outcomes of finished attempts; none if nothing finishes within a moment."""
        if not self._under_way:
            return []
        await asyncio.wait(self._under_way, timeout=_PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        done, self._under_way = await asyncio.wait(self._under_way, timeout=_GATHER_S)
        return [change for task in done for change in task.result()]

    async def _exchange(self, changes: _Changes, *, claims: bool = True) -> tuple[list[OutboxEntry], list[OutboxEntry]]:
        """Write outcomes; return the messages to look up, all in one look-up, and those to send."""
        now, channel = self._clock.now_ms(), self._channel.name
        capacity, urgent_only = self._pause.capacity(now, self._parallel) if claims else (0, True)
        free = capacity - len(self._under_way)
        setback = self._pause.failure
        if not changes and free <= 0 and setback is self._reported:
            return [], []  # a transaction would only block other writers
        # A message that is being looked up is still due in the outbox: it must not be claimed a second time.
        looks_up = free > 0 and self._look_up_task not in self._under_way

        def transact() -> tuple[list[OutboxEntry], list[OutboxEntry], list[tuple[Any, str]]]:
            with self._engine.begin() as connection:
                undelivered = self._settle(connection, changes, now)
                if setback is not self._reported:
                    self._report(connection, now)
                doubtful = outbox.doubtful(connection, channel, now, _LOOKED_UP) if looks_up else []
                due = outbox.claim(connection, channel, now, free - bool(doubtful), urgent_only=urgent_only)
                if not (doubtful or due):
                    self._next_due = outbox.next_due(connection, channel)
                return doubtful, due, undelivered

        doubtful, due, undelivered = await asyncio.to_thread(transact)
        self._reported = setback
        for entry, change in changes:
            self._log_change(entry, change, now)
        for row, code in undelivered:
            log_undelivered(self._log, row, code)
        return doubtful, due

    def _settle(self, connection: Connection, changes: _Changes, now: int) -> list[tuple[Any, str]]:
        """Write outcomes; escalate the incidents of failed messages, including receipts that preceded the outcome."""
        outbox.settle(connection, changes, now)
        failed = {entry.message.incident for entry, change in changes if change.status == "failed"}
        store.escalate_now(connection, failed, now)
        if self._channel.name not in ("sms", "whatsapp"):  # others send no receipts
            return []
        return receipts.apply(connection, {change.provider_id for _, change in changes} - {""}, now)

    def _report(self, connection: Connection, now: int) -> None:
        """Record that the channel fails, or that it works."""
        component, setback = f"channel {self._channel.name}", self._pause.failure
        if setback is None:
            failures.clear(connection, component)
            return
        remedy = setback.remedy if isinstance(setback, ChannelDown) else ""
        failure = ComponentFailure(
            component=component, since=now, code=setback.code, reason=setback.reason, remedy=remedy,
            retry_at=self._pause.until,
        )  # fmt: skip
        failures.report(connection, failure)

    async def _send(self, entry: OutboxEntry, began_in: int) -> _Changes:
        target = self._targets.get(entry.message.recipient)
        outcome: SendOutcome
        if target is None:
            gone = f"the routing no longer has recipient {entry.message.recipient!r}"
            change = OutboxChange("failed", None, entry.attempts, code="recipient", error=gone)
            return [(entry, change)]
        outcome = await self._channel.send(entry.message, target)
        now, was_failing = self._clock.now_ms(), self._pause.failure
        if self._pause.record(outcome, began_in, now) and self._pause.failure:
            self._log_setback(self._pause.failure, now)
        elif was_failing and not self._pause.failure:
            self._log.info("channel works again")
        change = decide(
            outcome, attempts=entry.attempts, urgent=entry.urgent, now=now, policy=self._policy, random=self._random
        )
        return [(entry, change)]

    async def _look_up(self, entries: list[OutboxEntry]) -> _Changes:
        """Look up messages in doubt: those that are found are sent, others are sent again if attempts are left."""
        questions = [
            DoubtfulMessage(entry.message, target, entry.begun_at)
            for entry in entries
            if (target := self._targets.get(entry.message.recipient))
        ]
        try:
            found = await self._channel.find(questions)
        except UnavailableError as error:
            now, reason = self._clock.now_ms(), str(error)
            again = partial(unanswered, reason, now=now, policy=self._policy, random=self._random)
            return [(entry, again(attempts=entry.attempts + 1, urgent=entry.urgent)) for entry in entries]
        now = self._clock.now_ms()
        changes: _Changes = []
        for entry in entries:
            sent = found.get(entry.message.reference)
            change = missing(attempts=entry.attempts, urgent=entry.urgent, now=now, policy=self._policy)
            if sent:
                change = OutboxChange("sent", None, entry.attempts, provider_id=sent.provider_id)
            changes.append((entry, change))
        return changes

    def _log_setback(self, setback: Retry | ChannelDown, now: int) -> None:
        pause = self._pause
        details = {
            "code": setback.code, "reason": setback.reason, "setbacks": pause.setbacks,
            "again_s": round((pause.until - now) / 1000, 1),
            "urgent_again_s": round((pause.urgent_until - now) / 1000, 1),
        }  # fmt: skip
        if isinstance(setback, ChannelDown):
            self._log.error("channel down, its messages are held", **details, remedy=setback.remedy)
        else:
            self._log.warning("channel pauses", **details)

    def _log_change(self, entry: OutboxEntry, change: OutboxChange, now: int) -> None:
        message = entry.message
        details = {
            "message": entry.id, "incident": message.incident, "recipient": message.recipient,
            "attempts": change.attempts,
        }  # fmt: skip
        if change.due_at is not None:
            again_s = round((change.due_at - now) / 1000, 1)
            self._log.warning("message deferred", **details, status=change.status, code=change.code, again_s=again_s)
            return
        self.settled[change.status] += 1
        if change.status == "sent":
            self._log.info("message sent", **details, provider_id=change.provider_id)
        else:
            self._log.error("message not sent", **details, status=change.status, code=change.code)


def log_undelivered(log: Any, row: Any, code: str) -> None:
    """Log that the provider accepted a message and could not deliver it."""
    log.error(
        "message not delivered", message=row.id, incident=row.incident_id, recipient=row.recipient,
        channel=row.channel, code=code,
    )  # fmt: skip
