"""The state of the features at the start of the stream."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from features.backfill import Backfill
from features.identity import identity_of
from features.load import load_state
from features.store import RedisStore
from producers.files import write_parquet
from vedette import Settings


def kept(history: Iterable[pa.RecordBatch], settings: Settings) -> Iterable[pa.RecordBatch]:
    """Return the history, which is also in the file that proofs read it from if the settings name one."""
    if not settings.archive.history:
        return history
    (file,) = settings.archive.history
    write_parquet(Path(file), history)
    return pq.ParquetFile(file).iter_batches()  # type: ignore[no-any-return]


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
