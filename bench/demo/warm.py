"""The features' state as it stands when the stream begins."""

from collections.abc import Callable, Iterable

import pyarrow as pa

from features import Backfill, RedisStore
from features.load import load_state
from vedette import Settings


def warm_up(history: Iterable[pa.RecordBatch], settings: Settings, on_progress: Callable[[int], None]) -> int:
    """Take history through the feature kernels and load the state into Redis; how many transactions that were.

    Labels count from seven days after their payment on, as they will in the stream, which publishes them at once.

    Args:
        history: Canonical batches in order of event time.
        settings: Where Redis is.
        on_progress: Told after every batch how many transactions have been taken in.

    Raises:
        InputError: The history is not in order of event time.
        UnavailableError: Redis does not answer.
    """
    state, taken = Backfill(), 0
    for batch in history:
        state.advance(batch.drop_columns(["labelled_at"]))
        taken += len(batch)
        on_progress(taken)
    if taken:
        store = RedisStore(settings.redis)
        try:
            load_state(state, store, settings.topics.partitions)
        finally:
            store.close()
    return taken
