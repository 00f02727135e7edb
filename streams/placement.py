"""Detection of messages that are not on the partition of their account, whose state is therefore split."""

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
import pyarrow as pa
import structlog
from numpy.typing import NDArray

from features.hashing import partitions_of
from streams.decode import Record

_log = structlog.get_logger("vedette.worker")

_REMEDY = (
    "key every message by its account id and let murmur2 of the key choose the partition, as Kafka's Java client does; "
    "for librdkafka set partitioner=murmur2_random"
)


class Misplacement(StrEnum):
    """Reason why a message is not on its account's partition."""

    NO_KEY = "no_key"
    OTHER_KEY = "other_key"
    OTHER_PARTITIONER = "other_partitioner"


_WHAT = {
    Misplacement.NO_KEY: "messages have no key",
    Misplacement.OTHER_KEY: "messages have another key than the account id",
    Misplacement.OTHER_PARTITIONER: "messages are keyed by the account id, but placed by another partitioner",
}


class PlacementCheck:
    """Finds misplaced messages, and logs each reason once per topic.

    Args:
        partitions: Number of partitions of the topics.
    """

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._logged: set[tuple[str, Misplacement]] = set()

    def count(
        self, topic: str, records: Sequence[Record], accounts: pa.Array, partition: NDArray[np.int32]
    ) -> dict[Misplacement, int]:
        """Return the number of misplaced messages of a batch by reason.

        Args:
            topic: Topic of the messages, without prefix.
            records: n messages.
            accounts: Account id of each message, text[n].
            partition: int32[n], partition of each message.
        """
        found: dict[Misplacement, int] = {}
        for row in np.flatnonzero(partitions_of(accounts, self._partitions) != partition).tolist():
            record = records[row]
            how = _how(record.key, accounts[row].as_py().encode())
            found[how] = found.get(how, 0) + 1
            if (topic, how) not in self._logged:
                self._logged.add((topic, how))
                place = f"{topic} {record.partition}:{record.offset}"
                _log.warning("misplaced messages", topic=topic, what=_WHAT[how], first=place, remedy=_REMEDY)
        return found


def _how(key: bytes | None, account: bytes) -> Misplacement:
    if key is None:
        return Misplacement.NO_KEY
    return Misplacement.OTHER_PARTITIONER if key == account else Misplacement.OTHER_KEY
