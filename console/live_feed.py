"""The decisions of the last minutes, read from their topic as they come."""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from threading import Event
from typing import Any

import msgspec

from adapters.http_server import Readiness
from adapters.kafka_consumer import TopicFollower
from adapters.kafka_reader import TopicReader
from vedette import Decision, Settings
from vedette.errors import UnavailableError
from vedette.topics import Name

NAME = "reading decisions"

_KEPT = 5_000
_AT_ONCE = 2_000
_TAKE_S = 0.25
_WINDOW_S = 60


class LiveDecision(msgspec.Struct, frozen=True):
    """A decision with its place in the feed and when it was read, ms since 1970 UTC."""

    number: int
    read_at: int
    decision: Decision


class LiveView(msgspec.Struct, frozen=True, kw_only=True):
    """What a page shows.

    Attributes:
        number: Number of the newest decision of the feed.
        rows: The newest that match, newest first.
        rates: Decisions by action in the last minute.
        per_second: Decisions a second over the last minute.
    """

    number: int
    rows: list[LiveDecision]
    rates: dict[str, int]
    per_second: float


Match = Callable[[Decision], bool]


class LiveFeed:
    """The newest decisions in memory; `run` belongs in a loop of its own.

    Args:
        settings: Settings of the broker.
        readiness: Records whether decisions are read.
        log: A structlog logger.
    """

    def __init__(self, settings: Settings, readiness: Readiness, log: Any) -> None:
        self._settings, self._readiness, self._log = settings, readiness, log
        self._decoder = msgspec.json.Decoder(Decision)
        self._lock = threading.Lock()
        self._number = 0
        self._kept: deque[LiveDecision] = deque(maxlen=_KEPT)
        self._seconds: deque[tuple[int, Counter[str]]] = deque(maxlen=_WINDOW_S + 1)
        self._decided: dict[tuple[str, str], None] = {}

    def run(self, stop: Event) -> None:
        """Read until stopped.

        Raises:
            UnavailableError: The broker does not answer.
        """
        reader = TopicReader(self._settings, Name.DECISIONS)
        topic = self._settings.topics.prefix + Name.DECISIONS
        try:
            start = {(topic, number): known.stop for number, known in reader.offsets.items()}
        finally:
            reader.close()
        follower = TopicFollower(self._settings.kafka, start, self._log, throttled=True)
        try:
            while not stop.is_set():
                self.add([message.value() or b"" for message in follower.take(_AT_ONCE, _TAKE_S)])
                if follower.problem:
                    raise UnavailableError(f"decisions are not read: {follower.problem}")
                self._readiness.works(NAME)
        finally:
            follower.close()

    def add(self, values: list[bytes]) -> None:
        """Add messages; what is not a decision, or not the first regular one on its payment, is passed over."""
        now = time.time_ns() // 1_000_000
        with self._lock:
            for value in values:
                try:
                    decision = self._decoder.decode(value)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    continue
                if not self._stands(decision):
                    continue
                self._number += 1
                self._kept.append(LiveDecision(self._number, now, decision))
                second = now // 1000
                if not self._seconds or self._seconds[-1][0] != second:
                    self._seconds.append((second, Counter()))
                self._seconds[-1][1][decision.action] += 1

    def _stands(self, decision: Decision) -> bool:
        """Return whether no other regular decision on the payment came before, as far as they are kept."""
        if decision.degraded or decision.final is True:
            return True
        payment = decision.account_id, decision.transaction_id
        if payment in self._decided:
            return False
        self._decided[payment] = None
        if len(self._decided) > _KEPT:
            del self._decided[next(iter(self._decided))]
        return True

    def view(self, matches: Match, limit: int) -> LiveView:
        """Return the newest decisions that match, and the rates of all."""
        since = time.time_ns() // 1_000_000_000 - _WINDOW_S
        with self._lock:
            rows: list[LiveDecision] = []
            for kept in reversed(self._kept):
                if matches(kept.decision):
                    rows.append(kept)
                    if len(rows) == limit:
                        break
            rates: Counter[str] = Counter()
            for second, counted in self._seconds:
                if second > since:
                    rates.update(counted)
            return LiveView(
                number=self._number, rows=rows, rates=dict(rates), per_second=sum(rates.values()) / _WINDOW_S
            )


def matcher(wanted: Mapping[str, str]) -> Match:
    """Return the filter of `action`, `text` (in account, counterparty, device, address) and `min_score`."""
    action, text = wanted.get("action", ""), wanted.get("text", "").strip().lower()
    try:
        min_score = float(wanted.get("min_score") or 0)
    except ValueError:
        min_score = 0.0

    def matches(decision: Decision) -> bool:
        if action == "flagged" and decision.action == "approve":
            return False
        if action not in ("", "flagged") and decision.action != action:
            return False
        if decision.score < min_score:
            return False
        if not text:
            return True
        fields = ("account_id", "transaction_id", "payee", "merchant_id", "device_id", "ip_address")
        values = (getattr(decision, field) for field in fields)
        return any(text in value.lower() for value in values if isinstance(value, str))

    return matches
