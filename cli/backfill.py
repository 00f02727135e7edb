"""`vedette backfill`: features of the past, for training and for a warm start."""

from __future__ import annotations

from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.context import limits_of, settings_of
from cli.engine import Engine, at_work
from cli.progress import bars, shown, total_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from cli.progress import Show
    from features import Backfill
    from features.history import History
    from vedette import Settings


class Start(StrEnum):
    """Where the worker begins to read after history has been loaded."""

    beginning = "beginning"
    end = "end"


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command()(backfill)


def backfill(
    ctx: typer.Context,
    files: list[Path] = typer.Argument(metavar="FILE…", help=".csv or .parquet files of transactions, in any order"),
    mapping: str = typer.Option("vedette", "--mapping", metavar="NAME", help="what their columns mean"),
    labels: Path | None = typer.Option(
        None, "--labels", metavar="FILE", help=".parquet, .csv or .jsonl file with transaction_id, fraud, labelled_at"
    ),
    output: Path | None = typer.Option(None, "--output", metavar="FILE", help="write the training frame (.parquet)"),
    load: bool = typer.Option(False, "--load", help="write the final state into Redis, for workers to start from"),
    overwrite: bool = typer.Option(False, "--overwrite", help="with --load: forget the state that is there"),
    stream_from: Start = typer.Option(
        Start.beginning, "--stream-from", help="with --load: where workers begin to read the topics"
    ),
    policy: Path | None = typer.Option(
        None, "--policy", metavar="FILE", help="whose limits features compare with (default: the one in force)"
    ),
    reject: Path | None = typer.Option(
        None, "--reject", metavar="FILE", help="rows that do not fit [default: NAME.rejects.csv]"
    ),
    scratch: Path | None = typer.Option(
        None, "--scratch", metavar="DIR", help="for what does not fit into memory [default: the temporary directory]"
    ),
    engine: Engine = typer.Option(Engine.local, "--engine", help="dask spreads the work over a cluster"),
    workers: int = typer.Option(2, "--workers", metavar="N", min=1, help="with dask: so many processes here"),
    scheduler: str = typer.Option(
        "", "--scheduler", metavar="ADDRESS", help="with dask: a cluster instead, whose workers all reach --scratch"
    ),
    as_json: bool = typer.Option(False, "--json", help="print the summary as JSON"),
) -> None:
    """Compute all features of past transactions by the worker's own kernel, in order of event time."""
    import json
    import tempfile
    from itertools import chain

    from features import Backfill, catalogue_hash
    from features import backfill as computed
    from features.frame import write_frame
    from features.history import opened
    from features.load import refuse_beside_workers
    from producers.files import RejectFile, read_batches
    from producers.mapping import load_mapping
    from vedette.errors import InputError

    if not (output or load):
        raise InputError("backfill has nothing to do", remedy="give --output FILE, --load or both")
    place = at_work(engine, scheduler, workers)
    settings = settings_of(ctx) if load else None
    if settings:
        refuse_beside_workers(settings)
    known, state = load_mapping(mapping), Backfill(limits_of(ctx, policy))
    with (
        tempfile.TemporaryDirectory(prefix="vedette-backfill-", dir=scratch) as room,
        RejectFile(reject or Path(f"{files[0].stem}.rejects.csv")) as rejected,
        bars() as bar,
    ):
        batches = [read_batches(file, known, on_reject=rejected.add) for file in files]
        total = total_rows(files)
        with (
            opened(chain.from_iterable(batches), Path(room), labels=labels, on_read=bar("reading", total)) as history,
            place as address,
        ):
            frames = (
                _spread(history, address, Path(room), state, bar("parts", None))
                if address
                else computed(history.in_order(), state)
            )
            frames = shown(frames, bar("features", total))
            rows = write_frame(output, frames) if output else sum(map(len, frames))
        if settings:
            _load(settings, state, overwrite, stream_from, bar("states", len(state.accounts) + len(state.entities)))
    summary = {
        "rows": rows,
        "accounts": len(state.accounts),
        "entities": len(state.entities),
        "rejected": rejected.count,
        "features_hash": catalogue_hash(),
        "output": str(output) if output else None,
        "loaded": load,
    }
    if as_json:
        typer.echo(json.dumps(summary))
    else:
        typer.echo(f"{rows:,} transactions of {len(state.accounts):,} accounts", err=True)
    if rejected.count:
        typer.echo(f"{rejected.count:,} rows did not fit; {rejected.path} says which and why", err=True)


def _spread(history: History, scheduler: str, scratch: Path, state: Backfill, show: Show) -> Iterator[pa.RecordBatch]:
    from features.cluster import connected
    from features.spread import spread

    with connected(scheduler) as client:
        yield from spread(history, client, scratch, state, on_part=show)


def _load(settings: Settings, state: Backfill, overwrite: bool, start: Start, show: Show) -> None:
    from features import RedisStore
    from features.load import load_state
    from producers.align import BrokerEnds
    from vedette.topics import TAKEN_IN

    positions = None
    if start is Start.end:
        with closing(BrokerEnds(settings)) as ends:
            positions = {topic: ends(topic) for topic in TAKEN_IN}
    with closing(RedisStore(settings.redis)) as store:
        load_state(state, store, settings.topics.partitions, overwrite=overwrite, positions=positions, on_progress=show)
