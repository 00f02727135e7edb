"""`vedette backfill`: features of the past, for training and for a warm start."""

from __future__ import annotations

from contextlib import closing, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.archived import ARCHIVE, SINCE, UNTIL, archived_period, moments
from cli.context import limits_of, settings_of
from cli.engine import Engine, cluster_of
from cli.progress import bars, shown, total_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from cli.progress import Show
    from features.backfill import Backfill
    from features.history import History
    from features.load import Positions
    from vedette import Settings


class Start(StrEnum):
    """Position from which the worker reads after history has been loaded."""

    beginning = "beginning"
    end = "end"
    archive = "archive"


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command()(backfill)


def backfill(
    ctx: typer.Context,
    files: list[Path] = typer.Argument(
        [], metavar="[FILE…]", help=".csv or .parquet files of transactions, in any order"
    ),
    archive: bool = ARCHIVE,
    since: str = SINCE,
    until: str = UNTIL,
    mapping: str = typer.Option("vedette", "--mapping", metavar="NAME", help="mapping of their columns"),
    labels: Path | None = typer.Option(
        None, "--labels", metavar="FILE", help=".parquet, .csv or .jsonl file with transaction_id, fraud, labelled_at"
    ),
    output: Path | None = typer.Option(None, "--output", metavar="FILE", help="write the training frame (.parquet)"),
    load: bool = typer.Option(False, "--load", help="write the final state into Redis, for workers to start from"),
    overwrite: bool = typer.Option(False, "--overwrite", help="with --load: delete existing state"),
    stream_from: Start = typer.Option(
        Start.beginning,
        "--stream-from",
        help="with --load: position from which workers read the topics; archive: behind what is archived",
    ),
    policy: Path | None = typer.Option(
        None,
        "--policy",
        metavar="FILE",
        help="policy with the limits for features [default: [decisions] policy; with --load the one in force]",
    ),
    reject: Path | None = typer.Option(
        None, "--reject", metavar="FILE", help="file for rejected rows [default: NAME.rejects.csv]"
    ),
    scratch: Path | None = typer.Option(
        None,
        "--scratch",
        metavar="DIR",
        help="folder for data that does not fit into memory [default: the temporary directory]",
    ),
    engine: Engine = typer.Option(Engine.local, "--engine", help="dask distributes the work over a cluster"),
    workers: int = typer.Option(2, "--workers", metavar="N", min=1, help="with dask: number of local processes"),
    scheduler: str = typer.Option(
        "",
        "--scheduler",
        metavar="ADDRESS",
        help="with dask: scheduler of a cluster whose workers all have access to --scratch",
    ),
    as_json: bool = typer.Option(False, "--json", help="print the summary as JSON"),
) -> None:
    """Compute all features of past transactions with the worker's kernel, in order of event time."""
    import json
    import tempfile
    from itertools import chain

    from features.backfill import Backfill
    from features.backfill import backfill as computed
    from features.catalogue import catalogue_hash
    from features.frame import write_frame
    from features.history import opened
    from features.identity import OPEN, identity_of
    from features.load import refuse_beside_workers
    from producers.files import RejectFile, read_batches
    from producers.mapping import load_mapping
    from vedette.card_numbers import ACCEPT, CardNumbers
    from vedette.clock import DAY
    from vedette.errors import InputError

    if not (output or load):
        raise InputError("backfill has nothing to do", remedy="give --output FILE, --load or both")
    if bool(files) == archive:
        raise InputError("which transactions are to be read?", remedy="give either FILE… or --archive")
    if stream_from is Start.archive and not archive:
        raise InputError("--stream-from archive needs --archive")
    cluster = cluster_of(engine, scheduler, workers)
    settings = settings_of(ctx) if load else None
    if settings:
        refuse_beside_workers(settings)
    known, own = load_mapping(mapping), settings_of(ctx).features.label_delay_days
    delay = known.feature_delay_days(own)
    if load and delay != own:
        raise InputError(
            f"mapping {mapping} has labels after {delay} days, this deployment after {own}",
            remedy="set [features] label_delay_days, or label_delay_days of the mapping",
        )
    state = Backfill(
        limits_of(ctx, policy, in_force=load),
        label_delay=delay * DAY,
        identity=identity_of(settings.identity) if settings else OPEN,
    )
    cards = CardNumbers(settings.cards) if settings else ACCEPT
    with (
        tempfile.TemporaryDirectory(prefix="vedette-backfill-", dir=scratch) as room,
        RejectFile(reject or Path(f"{files[0].stem if files else 'archive'}.rejects.csv")) as rejected,
        bars() as bar,
        archived_period(settings_of(ctx), *moments(since, until)) if archive else nullcontext() as period,
    ):
        batches = [read_batches(file, known, on_reject=rejected.add, cards=cards) for file in files]
        total = None if period else total_rows(files)
        with (
            opened(
                period.history() if period else chain.from_iterable(batches),
                Path(room),
                labels=labels,
                on_read=bar("reading", total),
            ) as history,
            cluster as address,
        ):
            frames = (
                _spread(history, address, Path(room), state, bar("parts", None))
                if address
                else computed(history.in_order(), state)
            )
            frames = shown(frames, bar("features", total))
            rows = write_frame(output, frames, state.label_delay) if output else sum(map(len, frames))
        if settings:
            positions = _positions(settings, stream_from)
            _load(settings, state, overwrite, positions, bar("states", len(state.accounts) + len(state.entities)))
    summary = {
        "rows": rows,
        "accounts": len(state.accounts),
        "entities": len(state.entities),
        "rejected": rejected.count,
        "features_hash": catalogue_hash(state.label_delay),
        "output": str(output) if output else None,
        "loaded": load,
    }
    if as_json:
        typer.echo(json.dumps(summary))
    else:
        typer.echo(f"{rows:,} transactions of {len(state.accounts):,} accounts", err=True)
    if rejected.count:
        typer.echo(f"{rejected.count:,} rows were rejected; see {rejected.path}", err=True)


def _spread(history: History, scheduler: str, scratch: Path, state: Backfill, show: Show) -> Iterator[pa.RecordBatch]:
    from features.dask_backfill import spread
    from features.dask_cluster import connected

    with connected(scheduler) as client:
        yield from spread(history, client, scratch, state, on_part=show)


def _positions(settings: Settings, start: Start) -> Positions | None:
    """Return the offsets from which workers read; None for the beginning."""
    from producers.aligner import BrokerEnds
    from vedette.topics import WORKER_INPUTS

    if start is Start.beginning:
        return None
    with closing(BrokerEnds(settings)) as ends:
        positions = {topic: ends(topic) for topic in WORKER_INPUTS}
    if start is Start.archive:
        from archive.past import positions as archived

        # Activity of what is read again comes with it.
        positions |= archived(settings)
    return positions


def _load(settings: Settings, state: Backfill, overwrite: bool, positions: Positions | None, show: Show) -> None:
    from features.load import load_state
    from features.store import RedisStore

    with closing(RedisStore(settings.redis)) as store:
        load_state(state, store, settings.topics.partitions, overwrite=overwrite, positions=positions, on_progress=show)
