"""The state of the features at the start of the stream."""

from collections.abc import Callable, Iterable

import pyarrow as pa

from features.backfill import Backfill
from features.identity import identity_of
from features.load import load_state
from features.store import RedisStore
from vedette import Settings


def warm_up(history: Iterable[pa.RecordBatch], settings: Settings, on_progress: Callable[[int], None]) -> int:
    """Run the history through the feature kernels, load the state into Redis and return the number of transactions.

    Labels take effect seven days after their payment, as in the stream, which publishes them at once.

    Args:
        history: Canonical batches in order of event time.
        settings: Settings of Redis.
        on_progress: Called after every batch with the number of transactions so far.

    Raises:
        InputError: The history is not in order of event time.
        UnavailableError: Redis does not answer.
    """
    state, taken = Backfill(label_delay=settings.features.label_delay, identity=identity_of(settings.identity)), 0
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
