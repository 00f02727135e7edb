import time
from threading import Thread

from confluent_kafka import Producer

from adapters.kafka_client import client_config
from demo.topic_watch import _REST_AFTER_S, TopicWatch
from tests.conftest import wait_for
from vedette.settings import Settings
from vedette.topics import Name


def test_what_comes_after_a_quiet_time_is_read(settings: Settings) -> None:
    """The watch fetches nothing while there is nothing, and still reads the next message, again and again."""
    watch = TopicWatch(settings, {})
    thread = Thread(target=watch.run)
    thread.start()
    producer = Producer(client_config(settings.kafka))
    try:
        for count in (1, 2):
            wait_for(lambda: time.monotonic() - watch._active_at > _REST_AFTER_S)
            producer.produce(settings.topics.prefix + Name.DLQ, b"poison", "a")
            assert producer.flush(10) == 0
            wait_for(lambda: len(watch.seen.dead_letters) == count)  # noqa: B023, used within this round
    finally:
        watch.ending.set()
        thread.join()
