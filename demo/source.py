"""The demo's transactions: a history, which only builds up the state of the features, and the stream after it."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pyarrow as pa

from demo.options import DemoOptions
from producers.files import RejectFile, read_batches
from producers.mapping import load_mapping
from producers.simulation import Simulation
from producers.simulator import simulate
from vedette.card_numbers import CardNumbers
from vedette.clock import DAY
from vedette.errors import InputError

HISTORY_DAYS = 38
"""Days of simulated history: the longest window is a merchant's 30 days up to 7 days ago."""

_ENOUGH_DAYS = 20_000


@dataclass(frozen=True)
class Source:
    """Canonical batches in order of event time; each is read once."""

    name: str
    """Name of the source in labels."""
    history: Iterator[pa.RecordBatch]
    """The history, which must be read first, to its end."""
    stream: Iterator[pa.RecordBatch]


def open_source(options: DemoOptions, rejects: RejectFile, cards: CardNumbers) -> Source:
    """Open the source that the options name.

    Args:
        options: Options of the demo.
        rejects: Collects the rows of the file that do not match the mapping.
        cards: What happens to identifiers that are card numbers.

    Raises:
        InputError: The file or the mapping does not exist, or they do not fit together.
    """
    if options.file:
        return _of_file(options.file, options, rejects, cards)
    return _simulated(options.seed)


def _of_file(file: Path, options: DemoOptions, rejects: RejectFile, cards: CardNumbers) -> Source:
    mapping = load_mapping(options.mapping)
    since = options.since_ms

    def between(start: int | None, end: int | None) -> Iterator[pa.RecordBatch]:
        return read_batches(file, mapping, start_ms=start, end_ms=end, on_reject=rejects.add, cards=cards)

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
