"""Published features compared with those of the stream: the same transactions through broker, worker and Redis."""

from collections.abc import Callable, Iterable
from contextlib import closing
from itertools import chain
from pathlib import Path
from threading import Event

import numpy as np
import pyarrow as pa

from adapters.kafka_reader import BATCHES_AT_ONCE, TopicReader
from bench.environment import environment, wait_until
from bench.measurement import Setup
from features.catalogue import NAMES
from features.parity import Comparison, Golden, Parity
from features.store import RedisStore
from producers.bootstrap import publish
from producers.replay import Plan
from streams.arrow import by_column, read
from streams.history.dead_letters import letters
from vedette import VedetteError
from vedette.clock import DAY
from vedette.topics import Name

_ALIGN_MS = 6 * DAY
"""Less than the delay of labels and of merchant windows, so that no partition gets ahead of the data they need."""

_WORKER_S = 240.0
"""Time-out that allows for compiling the kernels on the first start."""

Show = Callable[[int], None]


def verify_through_stream(
    golden: Path,
    batches: Iterable[pa.RecordBatch],
    setup: Setup,
    *,
    on_published: Show = lambda _: None,
    on_compared: Show = lambda _: None,
) -> Parity:
    """Publish transactions and their labels, let a worker decide on them, and compare its feature log.

    Args:
        golden: As for features.parity.verify.
        batches: Their transactions, with the columns of the canonical frame.
        setup: Setup of the benchmark.
        on_published: Called with the number of transactions published.
        on_compared: Called with the number of rows compared.

    Raises:
        InputError: As features.parity.verify.
        UnavailableError: A part is not installed, or makes no progress.
        VedetteError: The worker ended, or dead-lettered a message.
    """
    published = Golden(golden)
    comparison = Comparison(published)

    with (
        environment(setup) as bench,
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
        with closing(TopicReader(settings, Name.FEATURES, at_once=BATCHES_AT_ONCE)) as log:
            for message in chain.from_iterable(log):
                batch = by_column(read(message.value()))
                columns = [batch.column(name).to_numpy() for name in NAMES]
                comparison.take(batch.column("transaction_id"), np.column_stack(columns))
                on_compared(compared := compared + len(batch))
    if compared != sent:
        raise VedetteError(f"{sent:,} transactions gave {compared:,} rows of features")
    return comparison.result()
