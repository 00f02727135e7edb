"""`vedette train`: train a model on a file or on simulated payments."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.archived import ARCHIVE, archived_period, moments
from cli.check import counted_rejections, inspect
from cli.context import limits_of, settings_of
from cli.engine import ENGINE, SCHEDULER, Engine, cluster_of
from cli.parameters import choices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import pyarrow as pa
    from rich.console import Console
    from rich.table import Table

    from models.evaluate import FoldResult
    from models.metrics import ScoreMetrics
    from models.train import TrainingConfig
    from producers.converter import RejectedRow


class FeatureSet(StrEnum):
    """Features of the catalogue that a model may use."""

    all = "all"
    settled = "settled"
    published = "published"


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command()(train)


def train(
    ctx: typer.Context,
    file: Path | None = typer.Argument(None, help="file of past transactions with labels, sorted by time"),
    mapping: str = typer.Option("", "--mapping", metavar="NAME", help="mapping of the file's columns"),
    simulate: bool = typer.Option(False, "--simulate", help="train on simulated payments instead of a file"),
    archive: bool = ARCHIVE,
    output: Path | None = typer.Option(None, "--output", metavar="DIR", help="[default: var/models/NAME]"),
    name: str = typer.Option("vedette", "--name", help="name of the model"),
    features: FeatureSet = typer.Option(
        FeatureSet.all, "--features", help="settled: all but the live ones; published: the handbook's fifteen"
    ),
    history: int = typer.Option(0, "--history", metavar="DAYS", min=0, help="days to train on; 0: all"),
    since: str = typer.Option("", "--from", metavar="TIME", help="leave out earlier payments"),
    until: str = typer.Option("", "--to", metavar="TIME", help="leave out payments from this time on"),
    contact_cost: int = typer.Option(500, "--contact-cost", min=0, help="minor units that a false alarm costs"),
    policy: Path | None = typer.Option(
        None,
        "--policy",
        metavar="FILE",
        help="policy with the limits for features [default: the file of [decisions] policy]",
    ),
    recipe: list[str] = typer.Option(
        [], "--set", metavar="NAME=VALUE", help="parameter of the training, such as one found by `vedette tune`"
    ),
    engine: Engine = ENGINE,
    scheduler: str = SCHEDULER,
    threads: int = typer.Option(1, "--threads", min=1, help="training threads; 1 produces the same bytes on every run"),
    customers: int = typer.Option(5_000, "--customers", min=1, help="simulated customers"),
    days: int = typer.Option(90, "--days", min=1, help="simulated days"),
    seed: int = typer.Option(0, "--seed", min=0, help="seed of the simulation and of the training"),
    as_json: bool = typer.Option(False, "--json", help="end with one line of JSON"),
) -> None:
    """Train a model, evaluate it on the folds of the protocol, and write its folder.

    The data are checked first, as by `vedette check`; data with errors and training with leakage are refused. In the
    archive a payment that nobody has reported counts as honest.
    """
    from contextlib import nullcontext

    import msgspec
    from rich.console import Console

    from features.backfill import Backfill, backfill
    from features.catalogue import NAMES, SETTLED
    from models.evaluate import mean
    from models.frame import collect
    from models.guards.labels import too_good
    from models.guards.quality import stop_on_errors
    from models.protocol import PUBLISHED, Protocol
    from models.provenance import git_commit
    from models.training_run import train_and_save
    from models.zoo.dask_boosting import learner
    from producers.mapping import load_mapping
    from vedette.clock import DAY, SystemClock
    from vedette.errors import InputError

    cluster = cluster_of(engine, scheduler)
    notes = Console(stderr=True)
    delay = settings_of(ctx).features.label_delay_days
    if not simulate and mapping:
        delay = load_mapping(mapping).feature_delay_days(delay)
    protocol = Protocol(history=history, delay=delay)
    config = _config(recipe, seed=seed, contact_cost=contact_cost, threads=threads)
    if simulate + archive + (file is not None) > 1:
        raise InputError("there are several sources", remedy="give one of FILE, --archive and --simulate")
    chosen = {FeatureSet.all: NAMES, FeatureSet.settled: SETTLED, FeatureSet.published: PUBLISHED}[features]
    rejections, on_reject = counted_rejections()
    with archived_period(settings_of(ctx), *moments(since, until)) if archive else nullcontext() as period:

        def batches(on_reject: "Callable[[RejectedRow], None]") -> "Iterator[pa.RecordBatch]":
            if period:
                return period.history(labelled=True)
            return _simulated(customers, days, seed) if simulate else _of_file(file, mapping, since, until, on_reject)

        if not simulate:
            stop_on_errors(inspect(batches(on_reject), rejections, notes)[1])
        state = Backfill(limits_of(ctx, policy), label_delay=delay * DAY)
        frame = collect(_counted(backfill(batches(lambda _: None), state), notes), chosen)
    folder = output or Path("var/models") / name
    with cluster as address, notes.status("training") as status:
        run = train_and_save(
            frame,
            protocol,
            config,
            folder,
            name=name,
            created_at=SystemClock().now_ms(),
            git_commit=git_commit(Path(__file__).resolve().parents[1]),
            learn=learner(address),
            on_fold=lambda done: status.update(f"training: {done} of at most {protocol.folds} folds evaluated"),
        )
    Console(soft_wrap=True).print(_table(run.folds, run.validation))
    for warning in filter(None, (too_good(result.test.average_precision) for result in run.folds)):
        notes.print(warning, style="yellow", markup=False, highlight=False)
    span = f"of the last {history} days " if history else ""
    typer.echo(
        f"model {name}@{run.contract.version} written to {folder}: it was trained on {run.rows:,} payments {span}of "
        f"{len(frame):,} with a label; the labels of the last {protocol.delay} days would not have arrived yet"
    )
    if as_json:
        report = {
            "model": f"{name}@{run.contract.version}",
            "folder": str(folder),
            "rows": run.rows,
            "folds": run.folds,
            "mean": mean(run.folds) if run.folds else None,
            "validation": run.validation,
        }
        typer.echo(msgspec.json.encode(report).decode())


def _config(recipe: list[str], **known: int) -> "TrainingConfig":
    """Return the training recipe, with changed parameters."""
    import msgspec

    from models.train import TrainingConfig
    from vedette.errors import InputError

    wanted = {name: values[-1] for name, values in choices(recipe).items()}
    for name in wanted:
        if name not in TrainingConfig.__struct_fields__:
            fields = ", ".join(TrainingConfig.__struct_fields__)
            raise InputError(f"the training has no parameter {name!r}", remedy=f"choose among {fields}")
    try:
        return msgspec.convert({**known, **wanted}, TrainingConfig)
    except msgspec.ValidationError as error:
        raise InputError(f"--set: {error}") from error


def _simulated(customers: int, days: int, seed: int) -> "Iterator[pa.RecordBatch]":
    from producers.simulation import Simulation
    from producers.simulator import simulate

    return simulate(Simulation(customers=customers, days=days, seed=seed))


def _of_file(
    file: Path | None, mapping: str, since: str, until: str, on_reject: "Callable[[RejectedRow], None]"
) -> "Iterator[pa.RecordBatch]":
    from producers.files import read_batches
    from producers.mapping import load_mapping
    from vedette.clock import parse_time
    from vedette.errors import InputError

    if file is None or not mapping:
        raise InputError(
            "there is nothing to train on", remedy="give FILE with --mapping NAME, --archive, or --simulate"
        )
    return read_batches(
        file,
        load_mapping(mapping),
        start_ms=parse_time(since) if since else None,
        end_ms=parse_time(until) if until else None,
        on_reject=on_reject,
    )


def _counted(batches: "Iterable[pa.RecordBatch]", notes: "Console") -> "Iterator[pa.RecordBatch]":
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("features"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=notes, transient=True) as progress:
        task = progress.add_task("features", total=None)
        for batch in batches:
            yield batch
            progress.advance(task, batch.num_rows)


def _table(folds: "list[FoldResult]", validation: "ScoreMetrics") -> "Table":
    import msgspec
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from models.evaluate import LEAST_TEST_FRAUDS, is_telling, mean
    from vedette.clock import format_time

    headings = ("frauds", "AUC", "AP", "CP@100", "prec.", "recall", "R@1%", "ECE", "saved")
    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        caption="CP@100: card precision / that of a perfect ranking; prec. and recall at the "
        "threshold of lowest cost; R@1%: recall while 1 % of the honest payments are flagged; ECE: calibration error; "
        "saved: share of the loss without any model. A test with fewer than "
        f"{LEAST_TEST_FRAUDS} frauds is not meaningful and is not part of the mean.",
    )
    table.add_column("test from", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)

    def add(title: str, row: dict[str, float]) -> None:
        shares = (row[key] for key in ("auc", "average_precision"))
        at_threshold = (row[key] for key in ("precision", "recall", "recall_at_fpr"))
        table.add_row(
            title,
            f"{row['frauds']:,.0f}",
            *(f"{share:.3f}" for share in shares),
            f"{row['card_precision_100']:.2f}/{row['best_card_precision_100']:.2f}",
            *(f"{share:.3f}" for share in at_threshold),
            f"{row['calibration_error']:.4f}",
            f"{1 - row['cost'] / max(row['cost_without'], 1):.0%}",
        )

    for result in folds:
        day = format_time(result.test_start)[:10]
        if is_telling(result):
            add(day, msgspec.to_builtins(result.test))
        else:
            table.add_row(day, f"{result.test.frauds:,}", *["-"] * (len(headings) - 1))
    if any(map(is_telling, folds)):
        add("mean", mean(folds))
        table.add_section()
    add("validation", msgspec.to_builtins(validation))
    return table
