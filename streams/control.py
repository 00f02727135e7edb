"""The compacted `control` topic: what is in force is published here, and read here by every worker."""

import threading
from collections.abc import Iterator

import msgspec
import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition

from streams.service import Service
from vedette.control import Record, decode, key_of
from vedette.errors import DeliveryError, InputError, UnavailableError
from vedette.settings import Settings
from vedette.topics import Name

_TIMEOUT_S = 10.0
_POLL_S = 0.5

_log = structlog.get_logger("vedette.worker")


def publish(settings: Settings, record: Record) -> None:
    """Say what is in force from now on.

    Raises:
        DeliveryError: The broker did not take it.
    """
    failed: list[str] = []
    producer = Producer(
        settings.kafka.client_config()
        | {
            "enable.idempotence": True,
            "delivery.timeout.ms": int(_TIMEOUT_S * 1000),
            "log_level": 0,
            "on_delivery": lambda error, _: failed.append(str(error)) if error else None,
        }
    )
    producer.produce(settings.topics.prefix + Name.CONTROL, msgspec.json.encode(record), key_of(record))
    if producer.flush(_TIMEOUT_S + 1) or failed:
        raise DeliveryError(
            f"the control record was not delivered: {failed[0] if failed else 'no answer'}",
            remedy="what was decided is kept in the registry: `vedette models publish` sends it again",
        )


class Control:
    """Follows the topic for a worker, from a thread of its own.

    Args:
        settings: Where the broker is.
        service: What is told.
    """

    def __init__(self, settings: Settings, service: Service) -> None:
        self._settings = settings
        self._service = service
        self._name = settings.topics.prefix + Name.CONTROL
        self._consumer = Consumer(
            settings.kafka.client_config()
            | {"group.id": f"{settings.worker.group}-control", "enable.auto.commit": False, "log_level": 0}
        )
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="control", daemon=True)

    def start(self) -> None:
        """Put into force what the topic says now, then follow it.

        Raises:
            UnavailableError: The broker or the topic is not there.
        """
        try:
            _, end = self._consumer.get_watermark_offsets(TopicPartition(self._name, 0), _TIMEOUT_S)
        except KafkaException as error:
            raise UnavailableError(
                f"topic {self._name}: {error.args[0].str()}",
                remedy="`vedette topics apply`, and `vedette doctor` looks",
            ) from error
        self._consumer.assign([TopicPartition(self._name, 0, OFFSET_BEGINNING)])
        latest = dict(self._until(end))
        # The policy first: models are warmed up with it.
        for key in sorted(latest, reverse=True):
            self._service.apply(latest[key])
        self._thread.start()

    def close(self) -> None:
        """Stop following."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._consumer.close()

    def _until(self, end: int) -> Iterator[tuple[str, Record]]:
        position = 0
        while position < end:
            message = self._consumer.poll(_TIMEOUT_S)
            if message is None or message.error():
                return  # compaction may have taken the last of them
            position = message.offset() + 1
            yield from self._record(message)

    def _follow(self) -> None:
        while not self._stopping.is_set():
            message = self._consumer.poll(_POLL_S)
            if message is not None and not message.error():
                for _, record in self._record(message):
                    self._service.apply(record)
            while self._service.outgoing:
                try:
                    publish(self._settings, self._service.outgoing[0])
                except DeliveryError as error:
                    _log.warning("the guard's record waits", because=str(error))
                    break
                self._service.outgoing.pop(0)

    def _record(self, message: object) -> Iterator[tuple[str, Record]]:
        key, value = (message.key() or b"").decode(errors="replace"), message.value()  # type: ignore[attr-defined]
        if value is None:
            return
        try:
            yield key, decode(key, value)
        except InputError as error:
            self._service.refuse(str(error))
