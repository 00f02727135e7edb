"""The courier of one channel: takes due messages from the ledger, one at a time, and settles what became of them."""

from collections import Counter
from random import Random
from typing import Any

from alerts.notify.channel import Channel, Outcome, Permanent, Retry, Sent
from alerts.notify.ledger import Entry, Ledger
from alerts.notify.message import mask_recipient
from alerts.notify.sender import Change, RetryPolicy, decide, missing, unanswered
from vedette.clock import Clock
from vedette.errors import UnavailableError


class Courier:
    """Delivers what the ledger holds for one channel.

    Args:
        channel: Where messages go.
        ledger: Where they come from, and where their fate is written.
        policy: How often and how soon to try again.
        clock: Tells what is due.
        random: Chance, for the jitter.
        log: A structlog logger; it never sees a recipient in full.
    """

    def __init__(
        self, *, channel: Channel, ledger: Ledger, policy: RetryPolicy, clock: Clock, random: Random, log: Any
    ) -> None:
        self._channel = channel
        self._ledger = ledger
        self._policy = policy
        self._clock = clock
        self._random = random
        self._log = log.bind(channel=channel.name)
        self._rest_until = 0
        self._setbacks = 0
        self.settled: Counter[str] = Counter()

    async def step(self) -> bool:
        """Deliver the message that has been due longest. Returns False when there is nothing to do now."""
        now = self._clock.now_ms()
        if now < self._rest_until:
            return False
        entry = self._ledger.next(self._channel.name, now)
        if entry is None:
            return False
        if entry.status == "unknown" and not await self._must_send_again(entry):
            return True
        self._ledger.begin(entry.message, self._clock.now_ms())
        outcome = await self._channel.send(entry.message)
        attempts = entry.attempts + 1
        now = self._clock.now_ms()
        self._pace(outcome, now)
        change = decide(outcome, attempts=attempts, now=now, policy=self._policy, random=self._random)
        self._settle(entry, change, attempts, now)
        return True

    async def _must_send_again(self, entry: Entry) -> bool:
        """Look an unknown message up and settle it, unless the provider does not have it and attempts are left."""
        try:
            found = await self._channel.find(entry.message)
        except UnavailableError as error:
            now, attempts = self._clock.now_ms(), entry.attempts + 1
            change = unanswered(str(error), attempts=attempts, now=now, policy=self._policy, random=self._random)
            self._settle(entry, change, attempts, now)
            return False
        now = self._clock.now_ms()
        if found:
            self._settle(entry, Change("sent", None, provider_id=found.provider_id), entry.attempts, now)
            return False
        if final := missing(attempts=entry.attempts, policy=self._policy):
            self._settle(entry, final, entry.attempts, now)
            return False
        return True

    def _pace(self, outcome: Outcome, now: int) -> None:
        """Let the whole channel rest after set-backs: a rate limit or an outage concerns every message."""
        if isinstance(outcome, Retry):
            self._setbacks += 1
            rest = max(outcome.after_ms, self._policy.delay_ms(self._setbacks, self._random))
            self._rest_until = now + rest
        elif isinstance(outcome, Sent | Permanent):
            self._setbacks = 0

    def _settle(self, entry: Entry, change: Change, attempts: int, now: int) -> None:
        self._ledger.settle(entry.message, change, attempts, now)
        log = self._log.bind(
            alert_id=entry.message.alert_id, recipient=mask_recipient(entry.message.recipient), attempts=attempts
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
