"""Published features against those of the stream: the same transactions through broker, worker and Redis."""

from collections.abc import Callable, Iterable
from contextlib import closing
from itertools import chain
from pathlib import Path
from threading import Event

import numpy as np
import pyarrow as pa

from bench.rig import rig, wait_until
from features import NAMES, RedisStore
from features.parity import Comparison, Golden, Parity
from producers.bootstrap import publish
from producers.replay import Plan
from streams.arrow import read
from streams.dlq import letters
from streams.log import BATCHES_AT_ONCE, TopicLog
from vedette import VedetteError
from vedette.clock import DAY
from vedette.topics import Name

_ALIGN_MS = 6 * DAY
"""Less than the delay of labels and of the merchants' windows, so that no partition runs ahead of what these need."""

_WORKER_S = 240.0
"""A worker's first start compiles the kernels."""

Show = Callable[[int], None]


def verify_through_stream(
    golden: Path,
    batches: Iterable[pa.RecordBatch],
    directory: Path,
    *,
    broker: str,
    redis: str,
    on_published: Show = lambda _: None,
    on_compared: Show = lambda _: None,
) -> Parity:
    """Publish transactions and their labels, let a worker decide on them, and compare its feature log.

    Args:
        golden: As features.parity.verify takes it.
        batches: Likewise, with the columns of the canonical frame.
        directory: For the stack's data and logs.
        broker: `apache` or `embedded`.
        redis: `system` or `embedded`.
        on_published: Told how many transactions have been published; the worker is close behind.
        on_compared: Told how many have been compared.

    Raises:
        InputError: As features.parity.verify.
        UnavailableError: A part is not installed, or stands still.
        VedetteError: The worker ended, or set a message aside.
    """
    published = Golden(golden)
    comparison = Comparison(published)

    with (
        rig(directory, broker=broker, redis=redis) as bench,
        closing(RedisStore(bench.settings.redis)) as store,
        bench.worker() as worker,
    ):
        settings = bench.settings
        report = publish(
            settings, published.in_order(batches), Plan(labels="at-once", source="parity"),
            stopping=Event(), align_ms=_ALIGN_MS, positions=store.positions, align_timeout_s=_WORKER_S,
            on_progress=lambda report: on_published(report.transactions),
        )  # fmt: skip
        sent = report.transactions
        wait_until(lambda: bench.applied(store) >= sent, _WORKER_S, "the last transaction", worker)
        if dead := next(letters(settings), None):
            raise VedetteError(
                f"the worker could not read {dead.topic} {dead.source}: {dead.reason}",
                remedy="features can only be compared when every message counts",
            )
        compared = 0
        with closing(TopicLog(settings, Name.FEATURES, at_once=BATCHES_AT_ONCE)) as log:
            for message in chain.from_iterable(log):
                batch = read(message.value())
                columns = [batch.column(name).to_numpy() for name in NAMES]
                comparison.take(batch.column("transaction_id"), np.column_stack(columns))
                on_compared(compared := compared + len(batch))
    if compared != sent:
        raise VedetteError(f"{sent:,} transactions gave {compared:,} rows of features")
    return comparison.result()
