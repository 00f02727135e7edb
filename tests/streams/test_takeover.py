"""Which decision stands where two workers wrote to one partition at the same time."""

from dataclasses import dataclass

import msgspec

from streams.own_decisions import DecidedOffsets
from streams.takeover import find_standing
from tests.streams.conftest import PARTITIONS, MakePipeline, NewDeployment
from tests.streams.feed import logs
from tests.streams.test_pipeline import OpenTopics
from vedette.events import Decision
from vedette.topics import Name


@dataclass(frozen=True)
class Written:
    """A message of the log, as a client gives it."""

    content: bytes
    place: int

    def value(self) -> bytes:
        """The decision."""
        return self.content

    def headers(self) -> None:
        """It has none."""

    def offset(self) -> int:
        """Its offset."""
        return self.place


class Listed:
    """A partition of decisions in memory."""

    def __init__(self, messages: list[bytes]) -> None:
        self._messages = [Written(content, place) for place, content in enumerate(messages)]

    def end(self, partition: int) -> int:
        """See DecisionReader."""
        del partition
        return len(self._messages)

    def read(self, partition: int, offsets: range) -> list[Written]:
        """See DecisionReader."""
        del partition
        return self._messages[offsets.start : offsets.stop]


def late(message: bytes) -> bytes:
    """What another worker decided on the same payment."""
    decision = msgspec.json.decode(message, type=Decision)
    return msgspec.json.encode(msgspec.structs.replace(decision, score=0.123))


def test_of_two_interleaved_workers_the_first_decision_on_each_payment_stands(
    deployment: NewDeployment, pipeline: MakePipeline, topics: OpenTopics
) -> None:
    """Another worker's decision stands where it comes before this worker's own, and not where it comes after it."""
    settings = deployment("interleaved")
    worker = pipeline(settings)
    worker.assign(set(range(PARTITIONS)))
    queue = logs(PARTITIONS, 15)[0].records[Name.TRANSACTIONS, 0][:4]
    work = worker.compute(Name.TRANSACTIONS, {0: queue})
    assert work is not None
    assert work.decided is not None
    worker.settle([work])
    assert not work.decided.standing
    own = [message.value() for message in topics(settings).messages(Name.DECISIONS)]
    assert len(own) == 4
    log = [own[0], late(own[0]), own[1], late(own[2]), late(own[3]), own[2], own[3], late(own[1])]
    worker.owned[0].decided = DecidedOffsets(0)
    find_standing(work.decided, [(0, 0), (0, 2), (0, 5), (0, 6)], Listed(log))
    assert {row: known.offset for row, known in work.decided.standing.items()} == {2: 3, 3: 4}
    assert {known.decision.score for known in work.decided.standing.values()} == {0.123}
