"""The courier of one channel: sends many messages side by side, and settles what became of them."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from sqlalchemy import Engine

from alerts.incidents.routing import Target
from alerts.notify import outbox
from alerts.notify.channel import Channel, Outcome, Permanent, Question, Retry, Sent
from alerts.notify.outbox import Entry
from alerts.notify.sender import Change, RetryPolicy, decide, missing, unanswered
from vedette.clock import Clock
from vedette.errors import UnavailableError


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a send led to, and when (ms since 1970 UTC)."""

    entry: Entry
    outcome: Outcome


class Courier:
    """Delivers what the outbox holds for one channel.

    Settling what has ended and taking what is due are one transaction, so that a burst costs few writes to disk.

    Args:
        channel: The way messages go.
        targets: Where they go, by recipient.
        engine: Of the outbox.
        policy: How often and how soon to try again.
        parallel: How many are under way at once.
        clock: Tells what is due.
        random: Chance, for the jitter.
        log: A structlog logger; it never sees an address.
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
        self._under_way: set[asyncio.Task[_Answer]] = set()
        self._rest_until = 0
        self._setbacks = 0
        self.settled: Counter[str] = Counter()

    async def step(self) -> bool:
        """Take what is due and wait until something has ended. Returns False when there is nothing to do now."""
        done, self._under_way = await self._ended()
        now = self._clock.now_ms()
        changes = [self._judge(task.result(), now) for task in done]
        room = self._parallel - len(self._under_way) if now >= self._rest_until else 0
        entries = await asyncio.to_thread(self._exchange, changes, now, room)
        for entry, change in changes:
            self._tell(entry, change, now)
        doubtful = [entry for entry in entries if entry.status == "unknown"]
        for entry in entries:
            if entry.status != "unknown":
                self._under_way.add(asyncio.create_task(self._send(entry)))
        if doubtful:
            await self._look_up(doubtful)
        return bool(changes or entries or self._under_way)

    async def finish(self) -> None:
        """Take nothing more, settle what is under way, and close the channel."""
        try:
            while self._under_way:
                done, self._under_way = await asyncio.wait(self._under_way)
                now = self._clock.now_ms()
                changes = [self._judge(task.result(), now) for task in done]
                await asyncio.to_thread(self._exchange, changes, now, 0)
                for entry, change in changes:
                    self._tell(entry, change, now)
        finally:
            await self._channel.close()

    async def _ended(self) -> tuple[set["asyncio.Task[_Answer]"], set["asyncio.Task[_Answer]"]]:
        if not self._under_way:
            return set(), set()
        return await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)

    def _exchange(self, changes: list[tuple[Entry, Change]], now: int, room: int) -> list[Entry]:
        with self._engine.begin() as connection:
            outbox.settle(connection, changes, now)
            return outbox.claim(connection, self._channel.name, now, room)

    async def _send(self, entry: Entry) -> _Answer:
        target = self._targets.get(entry.message.recipient)
        if target is None:
            gone = f"the routing no longer has recipient {entry.message.recipient!r}"
            return _Answer(entry, Permanent("recipient", gone))
        return _Answer(entry, await self._channel.send(entry.message, target))

    def _judge(self, answer: _Answer, now: int) -> tuple[Entry, Change]:
        outcome, entry = answer.outcome, answer.entry
        if isinstance(outcome, Retry):
            # The whole channel rests: a rate limit or an outage concerns every message.
            self._setbacks += 1
            rest = max(outcome.after_ms, self._policy.delay_ms(self._setbacks, self._random))
            self._rest_until = max(self._rest_until, now + rest)
        elif isinstance(outcome, Sent | Permanent):
            self._setbacks = 0
        change = decide(outcome, attempts=entry.attempts, now=now, policy=self._policy, random=self._random)
        return entry, change

    async def _look_up(self, entries: list[Entry]) -> None:
        """Look doubtful messages up: found ones are sent, others may be sent again, if attempts are left."""
        questions = [
            Question(entry.message, target, entry.begun_at)
            for entry in entries
            if (target := self._targets.get(entry.message.recipient))
        ]
        changes: list[tuple[Entry, Change]] = []
        try:
            found = await self._channel.find(questions)
        except UnavailableError as error:
            now = self._clock.now_ms()
            for entry in entries:
                again = unanswered(
                    str(error), attempts=entry.attempts + 1, now=now, policy=self._policy, random=self._random
                )
                changes.append((entry, again))
        else:
            now = self._clock.now_ms()
            for entry in entries:
                sent = found.get(entry.message.reference)
                change = missing(attempts=entry.attempts, now=now, policy=self._policy)
                if sent:
                    change = Change("sent", None, entry.attempts, provider_id=sent.provider_id)
                changes.append((entry, change))
        await asyncio.to_thread(self._exchange, changes, now, 0)
        for entry, change in changes:
            self._tell(entry, change, now)

    def _tell(self, entry: Entry, change: Change, now: int) -> None:
        message = entry.message
        log = self._log.bind(
            message=entry.id, incident=message.incident, recipient=message.recipient, attempts=change.attempts
        )
        if change.due_at is not None:
            again_s = round((change.due_at - now) / 1000, 1)
            log.warning("message deferred", status=change.status, code=change.code, again_s=again_s)
            return
        self.settled[change.status] += 1
        if change.status == "sent":
            log.info("message sent", provider_id=change.provider_id)
        else:
            log.error("message not sent", status=change.status, code=change.code)
