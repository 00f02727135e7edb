"""The courier of one channel: sends many messages side by side, and settles what became of them."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from functools import partial
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

_Changes = list[tuple[Entry, Change]]

_PATIENCE_S = 0.1  # how long what is under way may keep us from looking for what is due
_LOOKED_UP = 250  # messages in one look, which costs about the same for few
_GATHER_S = 0.01  # what ends so soon after another is settled with it, in one transaction


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
        self._under_way: set[asyncio.Task[_Changes]] = set()
        self._looking: asyncio.Task[_Changes] | None = None
        self._rest_until = 0
        self._setbacks = 0
        self.settled: Counter[str] = Counter()

    async def step(self) -> bool:
        """Settle what has ended, and take what is due. Returns False when there is nothing to do now."""
        changes = await self._ended()
        room = self._parallel - len(self._under_way) if self._clock.now_ms() >= self._rest_until else 0
        doubtful, due = await self._exchange(changes, room)
        if doubtful:
            self._looking = asyncio.create_task(self._look_up(doubtful))
            self._under_way.add(self._looking)
        self._under_way |= {asyncio.create_task(self._send(entry)) for entry in due}
        return bool(changes or self._under_way)

    async def finish(self) -> None:
        """Take nothing more, settle what is under way, and close the channel."""
        try:
            while self._under_way:
                await self._exchange(await self._ended(), 0)
        finally:
            await self._channel.close()

    async def _ended(self) -> _Changes:
        """What has ended, with what ends a moment later; nothing after a while in which nothing has."""
        if not self._under_way:
            return []
        await asyncio.wait(self._under_way, timeout=_PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        done, self._under_way = await asyncio.wait(self._under_way, timeout=_GATHER_S)
        return [change for task in done for change in task.result()]

    async def _exchange(self, changes: _Changes, room: int) -> tuple[list[Entry], list[Entry]]:
        """Settle changes; what is to be looked up, all in one look, and what is to be sent."""
        if not changes and room <= 0:
            return [], []  # a transaction would only keep others from writing
        now, channel = self._clock.now_ms(), self._channel.name
        # What is being looked up is still due in the outbox: it must not be taken a second time.
        look = room > 0 and self._looking not in self._under_way

        def transact() -> tuple[list[Entry], list[Entry]]:
            with self._engine.begin() as connection:
                outbox.settle(connection, changes, now)
                doubtful = outbox.doubtful(connection, channel, now, _LOOKED_UP) if look else []
                return doubtful, outbox.claim(connection, channel, now, room - bool(doubtful))

        taken = await asyncio.to_thread(transact)
        for entry, change in changes:
            self._tell(entry, change, now)
        return taken

    async def _send(self, entry: Entry) -> _Changes:
        target = self._targets.get(entry.message.recipient)
        outcome: Outcome
        if target is None:
            gone = f"the routing no longer has recipient {entry.message.recipient!r}"
            outcome = Permanent("recipient", gone)
        else:
            outcome = await self._channel.send(entry.message, target)
        now = self._clock.now_ms()
        if isinstance(outcome, Retry):
            # The whole channel rests: a rate limit or an outage concerns every message.
            self._setbacks += 1
            rest = max(outcome.after_ms, self._policy.delay_ms(self._setbacks, self._random))
            self._rest_until = max(self._rest_until, now + rest)
        elif isinstance(outcome, Sent | Permanent):
            self._setbacks = 0
        change = decide(outcome, attempts=entry.attempts, now=now, policy=self._policy, random=self._random)
        return [(entry, change)]

    async def _look_up(self, entries: list[Entry]) -> _Changes:
        """Look doubtful messages up: found ones are sent, others may be sent again, if attempts are left."""
        questions = [
            Question(entry.message, target, entry.begun_at)
            for entry in entries
            if (target := self._targets.get(entry.message.recipient))
        ]
        try:
            found = await self._channel.find(questions)
        except UnavailableError as error:
            now, reason = self._clock.now_ms(), str(error)
            again = partial(unanswered, reason, now=now, policy=self._policy, random=self._random)
            return [(entry, again(attempts=entry.attempts + 1)) for entry in entries]
        now = self._clock.now_ms()
        changes: _Changes = []
        for entry in entries:
            sent = found.get(entry.message.reference)
            change = missing(attempts=entry.attempts, now=now, policy=self._policy)
            if sent:
                change = Change("sent", None, entry.attempts, provider_id=sent.provider_id)
            changes.append((entry, change))
        return changes

    def _tell(self, entry: Entry, change: Change, now: int) -> None:
        message = entry.message
        about = {
            "message": entry.id, "incident": message.incident, "recipient": message.recipient,
            "attempts": change.attempts,
        }  # fmt: skip
        if change.due_at is not None:
            again_s = round((change.due_at - now) / 1000, 1)
            self._log.warning("message deferred", **about, status=change.status, code=change.code, again_s=again_s)
            return
        self.settled[change.status] += 1
        if change.status == "sent":
            self._log.info("message sent", **about, provider_id=change.provider_id)
        else:
            self._log.error("message not sent", **about, status=change.status, code=change.code)
