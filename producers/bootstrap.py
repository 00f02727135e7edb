"""Wires the real parts of a replay: publisher, and for an aligned one the broker's ends."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from threading import Event

import pyarrow as pa

from producers.align import Aligner, BrokerEnds, Positions
from producers.publisher import Publisher
from producers.replay import Plan, Replay, Report
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
    on_progress: Callable[[Report], None] = lambda _: None,
    warn: Callable[[str], None] = lambda _: None,
) -> Report:
    """Replay canonical batches onto the topics that the settings name.

    Args:
        settings: Where the broker is.
        batches: What to send.
        plan: How to send it.
        stopping: Set it to end early, with everything handed over acknowledged.
        align_ms: Keep event time across partitions within this bound, given the worker's positions.
        positions: How far the worker has come; without a bound nothing waits for it.
        align_timeout_s: How long the worker may stand still.
        on_progress: Called after every piece, with what has been handed over so far.
        warn: Told what the user should know and need not act on.

    Raises:
        InputError: A file's rows are not in order of time, but the plan needs them to be; or a bound is given
            without positions, or the reverse.
        UnavailableError: The broker, Redis or the worker does not answer, or a topic is missing.
        DeliveryError: The broker did not acknowledge a message.
    """
    if bool(align_ms) != (positions is not None):
        raise InputError(
            f"no event time is kept within {align_ms} ms {'with' if positions else 'without'} the worker's positions",
            remedy="give publish a bound above 0 and the worker's positions, or neither",
        )
    with ExitStack() as parts:
        publisher = parts.enter_context(Publisher(settings))
        aligner = None
        if positions is not None:
            ends = parts.enter_context(closing(BrokerEnds(settings)))
            aligner = Aligner(align_ms, ends, positions, stopping=stopping, timeout_s=align_timeout_s, warn=warn)
        return Replay(publisher, plan, stopping=stopping, aligner=aligner, on_progress=on_progress).run(batches)
