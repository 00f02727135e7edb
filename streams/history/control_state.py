"""The current records of the control topic, read once without following it."""

from contextlib import closing
from itertools import chain

import msgspec

from adapters.kafka_reader import TopicReader
from vedette.control import Models, PolicyRecord, decode
from vedette.settings import Settings
from vedette.topics import Name


class ControlState(msgspec.Struct, frozen=True, kw_only=True):
    """The latest record of each kind; None before the first, in which case the worker uses its settings."""

    models: Models | None = None
    policy: PolicyRecord | None = None


def read_control(settings: Settings, timeout_s: float = 10.0) -> ControlState:
    """Read the records in force.

    Args:
        settings: Settings of the broker.
        timeout_s: Time-out for the broker.

    Raises:
        UnavailableError: The broker or the topic is not available.
        InputError: The latest record of a kind cannot be decoded, so workers refuse it as well.
    """
    latest: dict[str, bytes | None] = {}
    with closing(TopicReader(settings, Name.CONTROL, timeout_s=timeout_s)) as log:
        for message in chain.from_iterable(log):
            latest[(message.key() or b"").decode(errors="replace")] = message.value()
    models: Models | None = None
    policy: PolicyRecord | None = None
    for key, value in latest.items():
        if value is None:
            continue
        record = decode(key, value)
        if isinstance(record, Models):
            models = record
        else:
            policy = record
    return ControlState(models=models, policy=policy)
