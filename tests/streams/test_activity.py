import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from features.activity import Activity
from streams.arrow import ACTIVITY, activity_by_partition, read_activity

PARTITIONS = 4
NUMBERS = np.arange(1, 6)
SENT = Activity(
    entity=np.full(5, 8, np.uint64), kind=np.zeros(5, np.uint8), time=NUMBERS, tx=NUMBERS, account=NUMBERS,
    amount=NUMBERS, unusual=NUMBERS.astype(np.uint8), flags=NUMBERS.astype(np.uint8), label=np.full(5, -1, np.int8),
)  # fmt: skip
KEY = 7
MESSAGE = activity_by_partition(SENT, np.full(5, 3, np.int32), NUMBERS, PARTITIONS, "transactions", 1_000_000, KEY)[0][
    0
]


def test_activity_arrives_as_it_was_sent() -> None:
    """The rows are the same on the other side."""
    batch = read_activity(MESSAGE, PARTITIONS, KEY)
    assert batch.schema.equals(ACTIVITY)
    assert batch.column("offset").to_pylist() == [1, 2, 3, 4, 5]


@given(st.lists(st.tuples(st.integers(0, len(MESSAGE) - 1), st.integers(0, 255)), max_size=8), st.integers(0))
def test_nothing_makes_reading_activity_fail(changes: list[tuple[int, int]], end: int) -> None:
    """A message with changed or missing bytes is read or refused as the worker expects."""
    damaged = bytearray(MESSAGE)
    for place, byte in changes:
        damaged[place] = byte
    try:
        batch = read_activity(bytes(damaged[: end % (2 * len(MESSAGE))]), PARTITIONS, KEY)
    except (pa.ArrowException, ValueError, OSError):
        return
    assert batch.schema.equals(ACTIVITY)
