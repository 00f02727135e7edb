"""The standing decisions of the decisions topic."""

from collections.abc import Callable
from contextlib import closing
from itertools import chain

import msgspec

from adapters.kafka_reader import TopicReader
from vedette.errors import InputError
from vedette.events import Decision
from vedette.reading import UNREADABLE
from vedette.settings import Settings
from vedette.topics import Name


def rank(decision: Decision) -> int:
    """Return the rank of a decision: 0 degraded, 1 regular, 2 final after a challenge."""
    if decision.final is True:
        return 2
    return 0 if decision.degraded else 1


def standing_decisions(
    settings: Settings, published_from: int, wanted: Callable[[Decision], bool], limit: int
) -> tuple[list[Decision], int]:
    """Read the standing decisions: for each transaction the final one, otherwise the first regular one.

    Args:
        settings: Settings of the broker.
        published_from: Leave out decisions published earlier, milliseconds UTC.
        wanted: Selects standing decisions.
        limit: Number of decisions to return.

    Returns:
        The latest by event time, the newest first, and their number without the limit.

    Raises:
        InputError: A message of the topic is not a decision.
        UnavailableError: The broker or the topic is not available.
    """
    decoder = msgspec.json.Decoder(Decision)
    standing: dict[str, Decision] = {}
    with closing(TopicReader(settings, Name.DECISIONS, published_from)) as reader:
        for message in chain.from_iterable(reader):
            try:
                decision = decoder.decode(message.value() or b"")
            except UNREADABLE as error:
                raise InputError(
                    f"topic {Name.DECISIONS} has a message that is not a decision: partition {message.partition()}, "
                    f"offset {message.offset()}: {error}"
                ) from error
            before = standing.get(decision.transaction_id)
            if before is None or rank(decision) > rank(before):
                standing[decision.transaction_id] = decision
    found = sorted(filter(wanted, standing.values()), key=lambda decision: decision.event_time)
    return found[::-1][:limit], len(found)
