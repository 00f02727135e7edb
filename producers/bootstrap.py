"""Wiring of a replay: the publisher and, for an aligned replay, the broker's end offsets."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from threading import Event

import pyarrow as pa

from producers.aligner import Aligner, BrokerEnds, Positions
from producers.publisher import TransactionPublisher
from producers.replay import Plan, Replay, ReplayReport
from vedette.errors import InputError
from vedette.settings import Settings


def publish(
    settings: Settings,
    batches: Iterable[pa.RecordBatch],
    plan: Plan,
    *,
    stopping: Event,
    align_ms: int = 0,
    positions: Positions | None = None,
    align_timeout_s: float = 120.0,
    on_progress: Callable[[ReplayReport], None] = lambda _: None,
    warn: Callable[[str], None] = lambda _: None,
) -> ReplayReport:
    """Replay canonical batches onto the topics that the settings name.

    Args:
        settings: Settings of the deployment.
        batches: Batches to send.
        plan: How to send them.
        stopping: When set, the replay ends early, with everything handed over acknowledged.
        align_ms: Keep event time across partitions within this bound, given the worker's positions.
        positions: Positions of the worker; not used without a bound.
        align_timeout_s: Maximum time without progress of the worker.
        on_progress: Called after every chunk with the report so far.
        warn: Called with warnings for the user.

    Raises:
        InputError: A file's rows are not in order of time, but the plan needs them to be; or a bound is given
            without positions, or the reverse.
        UnavailableError: The broker, Redis or the worker does not answer, or a topic is missing.
        DeliveryError: The broker did not acknowledge a message.
    """
    if bool(align_ms) != (positions is not None):
        raise InputError(
            f"cannot align event time within {align_ms} ms {'with' if positions else 'without'} the worker's positions",
            remedy="give publish a bound above 0 and the worker's positions, or neither",
        )
    with ExitStack() as parts:
        publisher = parts.enter_context(TransactionPublisher(settings))
        aligner = None
        if positions is not None:
            ends = parts.enter_context(closing(BrokerEnds(settings)))
            aligner = Aligner(align_ms, ends, positions, stopping=stopping, timeout_s=align_timeout_s, warn=warn)
        return Replay(publisher, plan, stopping=stopping, aligner=aligner, on_progress=on_progress).run(batches)
