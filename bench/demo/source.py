"""Where the demo's transactions come from: history, which only feeds the features, and the stream behind it."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pyarrow as pa

from bench.demo.options import Options
from producers.files import RejectFile, read_batches
from producers.mapping import load_mapping
from producers.simulation import Simulation
from producers.simulator import simulate
from vedette.clock import DAY
from vedette.errors import InputError

HISTORY_DAYS = 38
"""Made-up history: the farthest feature looks at a merchant's 30 days that ended 7 days ago."""

_ENOUGH_DAYS = 20_000


@dataclass(frozen=True)
class Source:
    """Canonical batches in order of event time; each is read once."""

    name: str
    """What labels name as their source."""
    history: Iterator[pa.RecordBatch]
    """Read it first, and to its end."""
    stream: Iterator[pa.RecordBatch]


def open_source(options: Options, rejects: RejectFile) -> Source:
    """The source that the options ask for.

    Args:
        options: Of the demo.
        rejects: Takes the file's rows that do not fit.

    Raises:
        InputError: There is no such file or mapping, or they do not belong together.
    """
    if options.file:
        return _of_file(options.file, options, rejects)
    return _simulated(options.seed)


def _of_file(file: Path, options: Options, rejects: RejectFile) -> Source:
    mapping = load_mapping(options.mapping)
    since = options.since_ms

    def between(start: int | None, end: int | None) -> Iterator[pa.RecordBatch]:
        return read_batches(file, mapping, start_ms=start, end_ms=end, on_reject=rejects.add)

    history = iter(()) if since is None else between(None, since)
    return Source(mapping.name, history, _not_empty(between(since, options.until_ms), file))


def _not_empty(batches: Iterator[pa.RecordBatch], file: Path) -> Iterator[pa.RecordBatch]:
    first = next(batches, None)
    if first is None:
        raise InputError(f"{file} has no transaction in the span asked for", remedy="check --from and --to")
    yield from chain([first], batches)


def _simulated(seed: int) -> Source:
    config = Simulation(seed=seed, days=_ENOUGH_DAYS)
    batches = simulate(config)
    behind: list[pa.RecordBatch] = []

    def history() -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if batch.column("event_time")[0].as_py() >= config.start + HISTORY_DAYS * DAY:
                behind.append(batch)
                return
            yield batch

    return Source("simulator", history(), chain(behind, batches))
