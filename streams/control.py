"""Follows the compacted `control` topic in every worker."""

import threading
from collections.abc import Iterator

import structlog

from adapters.kafka_reader import TopicReader
from streams.active_strategies import ActiveStrategies
from streams.control_publisher import publish
from vedette.control import ControlRecord, decode
from vedette.errors import DeliveryError, InputError, UnavailableError
from vedette.settings import Settings
from vedette.topics import Name

_TIMEOUT_S = 10.0
_LOOK_S = 0.5

_log = structlog.get_logger("vedette.worker")


class Control:
    """Follows the topic for a worker, in a separate thread.

    Args:
        settings: Settings of the broker.
        strategies: Puts records into force.
    """

    def __init__(self, settings: Settings, strategies: ActiveStrategies) -> None:
        self._settings = settings
        self._strategies = strategies
        self._reader: TopicReader | None = None
        self._position = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="control", daemon=True)

    def start(self) -> None:
        """Put the current records of the topic into force, then follow it.

        Raises:
            UnavailableError: The broker or the topic is not available.
        """
        self._reader = TopicReader(self._settings, Name.CONTROL, timeout_s=_TIMEOUT_S)
        latest = dict(self._news(self._reader))
        # The policy comes first, as models are warmed up with it.
        for key in sorted(latest, reverse=True):
            self._strategies.apply(latest[key])
        self._thread.start()

    def close(self) -> None:
        """Stop following."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._reader:
            self._reader.close()

    def _news(self, reader: TopicReader) -> Iterator[tuple[str, ControlRecord]]:
        """Yield the records added since the last read.

        The topic changes a few times a week, so its end offset is polled and nothing is fetched in between.
        """
        ((partition, known),) = reader.current_offsets().items()
        start = self._position if known.start <= self._position <= known.stop else known.start
        for messages in reader.read({partition: range(start, known.stop)}):
            for message in messages:
                yield from self._record(message)
        self._position = known.stop

    def _follow(self) -> None:
        while not self._stopping.wait(_LOOK_S):
            try:
                for _, record in self._news(self._reader) if self._reader else ():
                    self._strategies.apply(record)
            except UnavailableError:
                pass  # the worker reports that the broker is unavailable; the records are read once it is back
            while self._strategies.outgoing:
                try:
                    publish(self._settings, self._strategies.outgoing[0])
                except DeliveryError as error:
                    _log.warning("the guardrail's record waits", because=str(error))
                    break
                self._strategies.outgoing.pop(0)

    def _record(self, message: object) -> Iterator[tuple[str, ControlRecord]]:
        key, value = (message.key() or b"").decode(errors="replace"), message.value()  # type: ignore[attr-defined]
        if value is None:
            return
        try:
            yield key, decode(key, value)
        except InputError as error:
            self._strategies.refuse(str(error))
