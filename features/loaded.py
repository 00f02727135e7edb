"""The state that a history leaves, as `vedette backfill --load` computes it."""

import tempfile
from collections import deque
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import pyarrow as pa

from features.backfill import Backfill, backfill
from features.history import opened
from features.identity import Identity


def loaded_state(
    batches: Iterable[pa.RecordBatch], *, label_delay: int, identity: Identity, labels: Path | None = None
) -> Backfill:
    """Return the state of accounts and entities after a history; an empty one without payments.

    Args:
        batches: In any order, see features.history.opened.
        label_delay: Milliseconds.
        identity: The key of the hashes.
        labels: A file of labels, likewise.

    Raises:
        InputError: The file of labels is not valid. Errors of the batches are raised unchanged.
    """
    state = Backfill(label_delay=label_delay, identity=identity)
    source = iter(batches)
    if (first := next(source, None)) is None:
        return state
    with (
        tempfile.TemporaryDirectory(prefix="vedette-history-") as scratch,
        opened(chain([first], source), Path(scratch), labels=labels) as history,
    ):
        deque(backfill(history.in_order(), state), maxlen=0)
    return state
