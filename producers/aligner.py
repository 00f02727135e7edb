"""Keeps event time across partitions within a bound, by following the progress of the worker.

When history is replayed at full speed, one partition's transactions may be far ahead of another's in event time, and a
merchant's delayed features would miss the payments still waiting in slower partitions. The stream is therefore cut into
slices, an eighth of the bound long. Before a slice that starts at T is published, the worker has applied everything
before T - bound + slice: first the transactions and labels, then the merchant activity that results from them.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping
from threading import Event
from typing import Protocol

from adapters.kafka_reader import TopicReader
from vedette.clock import DAY, HOUR, MINUTE, SECOND
from vedette.errors import InputError, UnavailableError
from vedette.settings import Settings
from vedette.topics import Name

SLICES = 8
_UNITS = {"d": DAY, "h": HOUR, "m": MINUTE, "s": SECOND}
_POLL_S = 0.01
_POLL_MOST_S = 0.1
_WARN_S = 5.0
_TIMEOUT_S = 10.0

Offsets = Mapping[int, int]


def parse_span(text: str) -> int:
    """Return the milliseconds of a span such as 6d, 12h, 30m or 45s; a bare number counts days.

    Raises:
        InputError: The text is not a span, or not positive.
    """
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "d")
    try:
        span = round(float(number) * _UNITS[unit])
    except (ValueError, OverflowError):
        span = 0
    if span <= 0:
        raise InputError(f"{text!r} is not a span of time", remedy="write it like 6d, 12h, 30m or 45s")
    return span


class Ends(Protocol):
    """Returns the end offsets of topics."""

    def __call__(self, topic: Name) -> Offsets:
        """Return the offset of the next message by partition; 0 where there is nothing to read."""
        ...


class Positions(Protocol):
    """Returns the positions of the worker."""

    def __call__(self, topic: Name, partitions: list[int]) -> Offsets:
        """Return the next offset to apply by partition; 0 where nothing has been applied."""
        ...


class BrokerEnds:
    """End offsets from the broker."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._readers: dict[Name, TopicReader] = {}

    def __call__(self, topic: Name) -> Offsets:
        """See Ends.

        Raises:
            UnavailableError: The broker does not answer.
        """
        if topic in self._readers:
            offsets = self._readers[topic].current_offsets()
        else:
            reader = self._readers[topic] = TopicReader(self._settings, topic, timeout_s=_TIMEOUT_S)
            offsets = reader.offsets
        return {partition: known.stop if known else 0 for partition, known in offsets.items()}

    def close(self) -> None:
        """Close the connections."""
        for reader in self._readers.values():
            reader.close()


class Aligner:
    """Releases slices of event time once the worker is close enough behind.

    Args:
        bound_ms: Maximum distance in event time between a published message and one not yet applied.
        ends: End offsets of topics.
        positions: Positions of the worker.
        stopping: When set, waiting ends at once.
        timeout_s: Maximum time without progress of the worker.
        warn: Called once, after five seconds without progress.
        monotonic: A monotonic clock, in seconds.
    """

    def __init__(
        self,
        bound_ms: int,
        ends: Ends,
        positions: Positions,
        *,
        stopping: Event,
        timeout_s: float = 120.0,
        warn: Callable[[str], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.slice_ms = max(bound_ms // SLICES, 1)
        self._bound_ms = bound_ms
        self._ends = ends
        self._positions = positions
        self._stopping = stopping
        self._timeout_s = timeout_s
        self._warn = warn
        self._warned = False
        self._monotonic = monotonic
        self._marks: deque[tuple[int, dict[Name, Offsets]]] = deque()

    def before(self, start_ms: int) -> None:
        """Wait until a slice of event time that starts here may be published.

        Raises:
            UnavailableError: The worker made no progress within the time-out, or broker or Redis do not answer.
        """
        due: dict[Name, Offsets] = {}
        while self._marks and self._marks[0][0] <= start_ms - self._bound_ms + self.slice_ms:
            due = self._marks.popleft()[1]  # offsets only grow, so the last one is sufficient
        for topic, offsets in due.items():
            self._wait(topic, offsets)
        if due:
            self._wait(Name.ACTIVITY, self._ends(Name.ACTIVITY))

    def after(self, end_ms: int) -> None:
        """Record the end offsets at the end of a slice; everything must have been flushed."""
        self._marks.append((end_ms, {topic: self._ends(topic) for topic in (Name.TRANSACTIONS, Name.LABELS)}))

    def _wait(self, topic: Name, wanted: Offsets) -> None:
        partitions = list(wanted)
        delay, best, since = _POLL_S, -1, self._monotonic()
        while not self._stopping.is_set():
            reached = self._positions(topic, partitions)
            behind = {p: wanted[p] - reached[p] for p in partitions if reached[p] < wanted[p]}
            if not behind:
                return
            if (total := sum(reached.values())) > best:
                best, since, delay = total, self._monotonic(), _POLL_S
            still = self._monotonic() - since
            if still > self._timeout_s:
                raise UnavailableError(
                    f"the worker has made no progress on topic {topic} for {self._timeout_s:g} s and is "
                    f"{sum(behind.values())} messages behind in partitions {', '.join(map(str, behind))}",
                    remedy="is `vedette worker` running, on the same broker, Redis and prefixes?",
                )
            if still > min(_WARN_S, self._timeout_s / 2) and not self._warned:
                self._warned = True
                self._warn(f"--align waits for the worker, which makes no progress on topic {topic}; is it running?")
            self._stopping.wait(delay)
            delay = min(delay * 1.5, _POLL_MOST_S)
