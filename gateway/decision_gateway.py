"""The gateway: admits payments, publishes them, and waits for their decisions."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import msgspec

from adapters.kafka_errors import is_missing
from gateway.admission import Admission
from gateway.answers import answer, decision_of, provisional
from gateway.backlog import Backlog
from gateway.metrics import GatewayMetrics
from gateway.problems import again, broker_away, missing_topic, not_acknowledged, problem, starting
from gateway.publisher import Acknowledged
from gateway.recent import Entry, RecentPayments, check_said
from vedette.client import Answer, ProblemError
from vedette.clock import Clock
from vedette.errors import RefusedError
from vedette.events import DEFAULT_KIND, PAYING, Action, Event, Label, Transaction
from vedette.fallback import Fallback
from vedette.reading import UNREADABLE, too_far_ahead
from vedette.settings import Settings
from vedette.topics import Name

_LOOP_S = 0.02
_MARGIN = 0.1
"""Fraction of the time to the deadline that remains when a decision without history is accepted instead."""


class Outlet(Protocol):
    """Publishes events; see gateway.publisher.Publisher."""

    def send(self, topic: str, value: bytes, key: str, acknowledged: Acknowledged) -> None:
        """Hand a message over."""
        ...


class GatewayHealth:
    """Conditions that prevent the gateway from accepting payments; written by its loops.

    Attributes:
        caught_up: Whether the decisions of the look-back have been read.
        broker: Reason why the broker or a topic cannot be read; empty if they can.
        missing_topic: A missing topic; empty if there is none.
    """

    def __init__(self) -> None:
        self.caught_up = False
        self.broker = ""
        self.missing_topic = ""

    def check(self) -> None:
        """Check that payments can be published and their decisions read.

        Raises:
            ProblemError: 503, they cannot.
        """
        if self.missing_topic:
            raise missing_topic(self.missing_topic)
        if self.broker:
            raise broker_away()
        if not self.caught_up:
            raise starting()


class DecisionGateway:
    """Payments in, decisions out. Everything here happens in the event loop's thread.

    Args:
        settings: All of them.
        recent: The payments of the look-back.
        outlet: Publisher of payments.
        health: Conditions that prevent it from accepting payments.
        clock: The clock.
        metrics: Counts what happens.
    """

    def __init__(
        self, settings: Settings, recent: RecentPayments, outlet: Outlet, health: GatewayHealth, clock: Clock,
        metrics: GatewayMetrics,
    ) -> None:  # fmt: skip
        self.recent, self.health, self.backlog = recent, health, Backlog()
        own = settings.gateway
        self.admission = Admission(own.in_flight, own.deadline_ms / 1000, own.behind_s)
        self.fallback, self.policy = Fallback(), ""
        self._lookback_s = own.lookback_s
        self._prefix = settings.topics.prefix
        self._challenges = settings.mfa.public_url
        self._max_future_ms = settings.worker.max_future_s * 1000
        self._outlet, self._clock, self._metrics = outlet, clock, metrics
        self._encode = msgspec.json.Encoder().encode
        self._in_flight = 0

    async def decide(self, transaction: Transaction, deadline_s: float, started: float) -> Answer:
        """Return the decision on a payment, which is published unless it was before.

        Args:
            transaction: In canonical form, see vedette.reading.
            deadline_s: Seconds from `started` after which the answer is a provisional one.
            started: When the request came, by time.perf_counter.

        Raises:
            ProblemError: Nothing was accepted (409, 422, 503), or whether it was is not known (503).
        """
        entry = self._admit(transaction)
        if entry.standing is None:
            await self._wait(entry, deadline_s - (time.perf_counter() - started))
        latency_ms = (time.perf_counter() - started) * 1000
        if raw := entry.standing or entry.degraded:
            decision = decision_of(raw)
            check_said(transaction, decision)  # another gateway may have published another body at the same time
            return answer(decision, self._challenges, latency_ms)
        if entry.refused is not None:
            raise again(entry.refused)
        if not entry.acknowledged:
            raise not_acknowledged()
        action: Action = "approve"  # what gives money back is not held up
        if (transaction.kind or DEFAULT_KIND) in PAYING:
            action = self.fallback.action_for(transaction.amount, transaction.currency, transaction.channel)
        return provisional(transaction, action, self.policy, latency_ms)

    async def accept(self, transaction: Transaction, within_s: float) -> None:
        """Return once a payment is on its topic, without waiting for its decision.

        Raises:
            ProblemError: See decide.
        """
        entry = self._admit(transaction)
        await self._acknowledged(entry, within_s)

    async def label(self, label: Label, within_s: float) -> None:
        """Return once a label is on its topic.

        Raises:
            ProblemError: Nothing was accepted (503), or whether it was is not known (503).
        """
        self.health.check()
        entry = Entry(label.account_id, 0)
        self._send(Name.LABELS, label, label.account_id, partial(self._labelled, entry))
        await self._acknowledged(entry, within_s)

    def look_up(self, transaction_id: str) -> Answer:
        """Return the newest decision on a payment: the final one, else the standing one, else the degraded one.

        Raises:
            ProblemError: 404, the payment is not known; 409, it is not decided yet, or several have this id.
        """
        entries = self.recent.entries(transaction_id)
        if not entries:
            raise problem(
                "unknown-transaction", 404,
                f"no payment of the last {self._lookback_s} s has the id {transaction_id!r}",
                field="transaction_id", value=transaction_id,
                remedy="older decisions are in the archive: `vedette find`",
            )  # fmt: skip
        if len(entries) > 1:
            raise problem(
                "ambiguous", 409, f"payments of {len(entries)} accounts have the id {transaction_id!r}",
                field="transaction_id", value=transaction_id, remedy="give every payment an id of its own",
            )  # fmt: skip
        raw = entries[0].final or entries[0].standing or entries[0].degraded
        if raw is None:
            raise problem(
                "undecided", 409, f"the payment {transaction_id!r} is not decided yet", field="transaction_id",
                value=transaction_id, retry_after_s=1, remedy="follow its events, or ask again",
            )  # fmt: skip
        return answer(decision_of(raw), self._challenges)

    def take(self, messages: list[bytes]) -> None:
        """Take decisions from the log, in order."""
        now, now_s = self._clock.now_ms(), time.monotonic()
        for value in messages:
            try:
                entry = self.recent.take(value, now)
            except UNREADABLE:
                self._metrics.unreadable.inc()
                continue
            if entry is not None and (wait_s := self.backlog.decide(entry, now_s)) is not None:
                self.admission.observe(wait_s, now_s)

    def use(self, fallback: Fallback, policy: str) -> None:
        """Answer provisionally by this fallback from now on.

        Args:
            fallback: The section of the policy.
            policy: Name and version of the policy.
        """
        self.fallback, self.policy = fallback, policy

    def measure(self) -> None:
        """Forget what is old, and bring the metrics up to date that nothing else does; called now and then."""
        self.recent.expire(self._clock.now_ms())
        self._metrics.behind.set(self.backlog.age_s(time.monotonic()))
        self._metrics.remembered.set(len(self.recent))
        self._metrics.room.set(self.admission.room)
        self._metrics.loop_lag.set(self.admission.lag_s)

    async def watch_loop(self) -> None:
        """Measure, for as long as the event loop runs, by how much it runs behind."""
        now = asyncio.get_running_loop().time
        while True:
            due = now() + _LOOP_S
            await asyncio.sleep(_LOOP_S)
            self.admission.lag_s = now() - due

    def check_time(self, transaction: Transaction) -> int:
        """Check that a payment is not too far ahead of the clock, and return the time in milliseconds.

        Raises:
            ProblemError: 422, it is.
        """
        now = self._clock.now_ms()
        if transaction.event_time > now + self._max_future_ms:
            raise problem(
                "invalid-event", 422, too_far_ahead(transaction.event_time, now), field="event_time",
                value=transaction.event_time,
                remedy="send the time of the payment in milliseconds since 1970-01-01 UTC",
            )  # fmt: skip
        return now

    def _admit(self, transaction: Transaction) -> Entry:
        """Return the entry of a payment that has been published, now or before.

        Raises:
            ProblemError: It is refused, and was not published.
        """
        now = self.check_time(transaction)
        known = self.recent.knows(transaction)
        if not known:  # an overload ends here, before anything is computed or remembered
            self._check(new=True)
        entry = self.recent.claim(transaction, now)
        if entry.standing is not None:
            return entry
        try:
            if known:
                self._check(new=not entry.published)
            if not entry.published:
                self._publish(transaction, entry)
        except ProblemError:
            self.recent.release(transaction)
            raise
        return entry

    def _check(self, *, new: bool) -> None:
        """Check that a payment may be accepted.

        Args:
            new: Whether it would be published.

        Raises:
            ProblemError: 503, it may not.
        """
        self.health.check()
        self.admission.check_waiting(self._in_flight)
        if new:
            self.admission.check_new(self.backlog, self._in_flight, time.monotonic())

    def _publish(self, transaction: Transaction, entry: Entry) -> None:
        entry.published, entry.refused = True, None
        report = partial(self._published, entry, time.monotonic())
        self.backlog.send()
        try:
            self._send(Name.TRANSACTIONS, transaction, transaction.account_id, report)
        except ProblemError:
            entry.published = False
            self.backlog.fail()
            raise
        self._metrics.published.inc()

    def _send(self, topic: Name, event: Event, account_id: str, report: Callable[[Any, int, int], None]) -> None:
        try:
            self._outlet.send(self._prefix + topic, self._encode(event), account_id, report)
        except RefusedError as error:
            raise self._not_published(error.args[0]) from error

    def _published(self, entry: Entry, at_s: float, error: Any, partition: int, offset: int) -> None:
        """Take the fate of a payment."""
        if error is None:
            entry.acknowledged = True
            self.backlog.add(entry, partition, offset, at_s)
            entry.wake()
            return
        self.backlog.fail()
        # It may be on the topic nevertheless. Sent again it is published again, and the worker recognises it.
        entry.published = False
        entry.refused = self._fate(Name.TRANSACTIONS, error)
        entry.wake()

    def _labelled(self, entry: Entry, error: Any, partition: int, offset: int) -> None:
        del partition, offset
        entry.acknowledged = error is None
        entry.refused = None if error is None else self._fate(Name.LABELS, error)
        entry.wake()

    def _fate(self, topic: Name, error: Any) -> ProblemError:
        if is_missing(error):
            return missing_topic(self._prefix + topic)
        return self._not_published(error.str())

    def _not_published(self, reason: str) -> ProblemError:
        return problem(
            "not-published", 503, f"the broker has not taken the event: {reason}", retry_after_s=2,
            remedy="send it again under the same id: it is decided once",
        )  # fmt: skip

    async def _wait(self, entry: Entry, left_s: float) -> None:
        """Return when the decision stands, the broker refuses the payment, or the time is over."""
        until = asyncio.get_running_loop().time() + left_s
        self._in_flight += 1
        self._metrics.in_flight.set(self._in_flight)
        try:
            await self._decided(entry, until - _MARGIN * left_s, degraded_too=False)
            await self._decided(entry, until, degraded_too=True)
        finally:
            self._in_flight -= 1
            self._metrics.in_flight.set(self._in_flight)

    async def _decided(self, entry: Entry, until: float, *, degraded_too: bool) -> None:
        now = asyncio.get_running_loop().time
        while now() < until and entry.standing is None and entry.refused is None:
            if degraded_too and entry.degraded is not None:
                return
            await entry.changed(until)

    async def _acknowledged(self, entry: Entry, within_s: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + within_s
        self._in_flight += 1
        try:
            while not (entry.acknowledged or entry.refused or entry.standing) and loop.time() < until:
                await entry.changed(until)
        finally:
            self._in_flight -= 1
        if entry.refused is not None:
            raise again(entry.refused)
        if not (entry.acknowledged or entry.standing):
            raise not_acknowledged()
