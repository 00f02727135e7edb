"""The payments of the look-back: their decisions from the log, and detection of a different body under their id.

Bounded in number and age. Everything here happens in the event loop's thread; nothing waits.
"""

import asyncio
from collections import OrderedDict
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import UNSET

from gateway.answers import decision_of
from gateway.problems import problem
from vedette.client import ProblemError
from vedette.events import Decision, Transaction

_DIGEST = 8
_LEFT_OUT = bytes(_DIGEST)
"""Digest of a field that a payment does not have."""
_FIELDS = Transaction.__struct_fields__
_SAID = (
    "event_time", "amount", "currency", "kind", "original_id", "merchant_id", "payee", "channel", "country",
    "device_id", "ip_address",
)  # fmt: skip
"""Fields of a transaction that a decision repeats."""


class Entry:
    """A payment of an account.

    Attributes:
        account_id: The account.
        since_ms: When it was first seen here, milliseconds.
        digests: A keyed digest of each field of its request; empty: it came in elsewhere or before a restart.
        standing: The first decision of the log that is neither degraded nor final, as JSON; None: there is none yet.
        degraded: The first decision without history, as JSON.
        final: The decision after its challenge, as JSON.
        published: Whether it was handed to the producer and may be on the topic.
        acknowledged: Whether the broker has it.
        refused: Why the broker has not taken it.
        pending: Partition and time of publication, while gateway.backlog.Backlog has it.
    """

    __slots__ = (
        "_waiting", "account_id", "acknowledged", "degraded", "digests", "final", "pending", "published", "refused",
        "since_ms", "standing",
    )  # fmt: skip

    def __init__(self, account_id: str, since_ms: int) -> None:
        self.account_id, self.since_ms = account_id, since_ms
        self.digests = b""
        self.standing: bytes | None = None
        self.degraded: bytes | None = None
        self.final: bytes | None = None
        self.published = self.acknowledged = False
        self.refused: ProblemError | None = None
        self.pending: tuple[int, float] | None = None
        self._waiting: set[asyncio.Future[None]] | None = None

    @property
    def decided(self) -> bytes | None:
        """A decision that repeats what the payment said, as JSON."""
        return self.standing or self.degraded or self.final

    @property
    def waited_for(self) -> bool:
        """Whether a request waits for it."""
        return bool(self._waiting)

    async def changed(self, until: float) -> None:
        """Return when `wake` is called, or at this time of the event loop's clock."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting = self._waiting or set()
        self._waiting.add(future)
        timer = loop.call_at(until, _settle, future)
        try:
            await future
        finally:
            timer.cancel()
            self._waiting.discard(future)

    def wake(self) -> None:
        """Wake all waiters."""
        for future in self._waiting or ():
            _settle(future)


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


class RecentPayments:
    """The payments of the look-back, by id and account.

    Args:
        lookback_ms: Time for which a payment is remembered.
        remember: Maximum number of payments.
        key: Secret bytes for the digests.
    """

    def __init__(self, lookback_ms: int, remember: int, key: bytes) -> None:
        self._lookback_ms, self._remember, self._key = lookback_ms, remember, key
        self._entries: OrderedDict[tuple[str, str], Entry] = OrderedDict()
        self._accounts: dict[str, tuple[str, ...]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def entries(self, transaction_id: str) -> list[Entry]:
        """Return the payments of an id: none, one, or those of several accounts."""
        return [
            self._entries[transaction_id, account]
            for account in self._accounts.get(transaction_id, ())
        ]  # fmt: skip

    def knows(self, transaction: Transaction) -> bool:
        """Return whether a payment with this id and account is remembered, whatever else it said."""
        return (transaction.transaction_id, transaction.account_id) in self._entries

    def claim(self, transaction: Transaction, now_ms: int) -> Entry:
        """Return the entry of a payment that comes in, which is new unless the payment is known.

        Raises:
            ProblemError: 409, the id belongs to a payment with another body; the problem names the first field that
                differs.
        """
        self.expire(now_ms)
        known = self._entries.get((transaction.transaction_id, transaction.account_id))
        digests = self._digests(transaction)
        if known is None:
            if transaction.transaction_id in self._accounts:
                raise other_body(transaction, "account_id")
            known = self._add(transaction.transaction_id, transaction.account_id, now_ms)
        if known.digests:
            if field := _differing(known.digests, digests):
                raise other_body(transaction, field)
        elif known.decided:
            check_said(transaction, decision_of(known.decided))
        known.digests = digests
        return known

    def take(self, value: bytes, now_ms: int) -> Entry | None:
        """Take a decision from the log, and return the payment's entry; None if it says nothing new.

        Raises:
            One of vedette.reading.UNREADABLE: It is not a decision.
        """
        said = decision_of(value)  # all of it: what cannot be answered with must not stand in the way of what can
        entry = self._entries.get((said.transaction_id, said.account_id))
        if entry is None:
            entry = self._add(said.transaction_id, said.account_id, now_ms)
        kind = "final" if said.final is True else "degraded" if said.degraded else "standing"
        if getattr(entry, kind) is not None:  # of several in the log, the first stands
            return None
        setattr(entry, kind, value)
        entry.wake()
        return entry

    def release(self, transaction: Transaction) -> None:
        """Forget a payment that was refused before it was published, so that its id is free again."""
        key = (transaction.transaction_id, transaction.account_id)
        entry = self._entries.get(key)
        if entry and not (entry.published or entry.refused or entry.waited_for or entry.decided):
            self._remove(key)

    def expire(self, now_ms: int) -> None:
        """Forget what is older than the look-back, and the oldest of what is too much, unless it is waited for."""
        while self._entries:
            key, entry = next(iter(self._entries.items()))
            old = entry.since_ms < now_ms - self._lookback_ms or len(self._entries) > self._remember
            if not old or entry.waited_for:
                return
            self._remove(key)

    def _add(self, transaction_id: str, account_id: str, now_ms: int) -> Entry:
        entry = self._entries[transaction_id, account_id] = Entry(account_id, now_ms)
        self._accounts[transaction_id] = (*self._accounts.get(transaction_id, ()), account_id)
        self.expire(now_ms)
        return entry

    def _remove(self, key: tuple[str, str]) -> None:
        del self._entries[key]
        transaction_id, account_id = key
        others = tuple(account for account in self._accounts[transaction_id] if account != account_id)
        if others:
            self._accounts[transaction_id] = others
        else:
            del self._accounts[transaction_id]

    def _digests(self, transaction: Transaction) -> bytes:
        encode = msgspec.json.encode
        return b"".join(
            _LEFT_OUT
            if value is UNSET or value is None
            else blake2b(encode(value, order="sorted"), digest_size=_DIGEST, key=self._key).digest()
            for value in msgspec.structs.astuple(transaction)
        )


def check_said(transaction: Transaction, decision: Decision) -> None:
    """Check that a decision is about this body of its transaction, as far as the decision repeats it.

    Raises:
        ProblemError: 409, it is about another; the problem names the first field that differs.
    """
    for field in _SAID:
        said: Any = getattr(decision, field)
        if said is not UNSET and said is not None and said != getattr(transaction, field):
            raise other_body(transaction, field)


def other_body(transaction: Transaction, field: str) -> ProblemError:
    """Return the refusal of a payment whose id belongs to another one."""
    value: Any = getattr(transaction, field)
    return problem(
        "other-body", 409, f"transaction {transaction.transaction_id!r} came before with another `{field}`",
        field=field, value=value if isinstance(value, str | int | float) else None,
        remedy="give every payment an id of its own, and repeat a request unchanged",
    )  # fmt: skip


def _differing(known: bytes, given: bytes) -> str:
    if known == given:
        return ""
    return next(
        name
        for place, name in enumerate(_FIELDS)
        if known[place * _DIGEST : (place + 1) * _DIGEST] != given[place * _DIGEST : (place + 1) * _DIGEST]
    )
