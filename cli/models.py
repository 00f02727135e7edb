"""`vedette train`: learn a model from a file or from the simulator."""

from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.check import inspect
from cli.context import limits_of
from cli.engine import ENGINE, SCHEDULER, Engine, at_work
from cli.parameters import choices

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pyarrow as pa
    from rich.console import Console
    from rich.table import Table

    from models.evaluate import FoldResult
    from models.metrics import Metrics
    from models.train import TrainingConfig


class FeatureSet(StrEnum):
    """Which features of the catalogue a model may use."""

    all = "all"
    published = "published"


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command()(train)


def train(
    ctx: typer.Context,
    file: Path | None = typer.Argument(None, help="file of past transactions with labels, sorted by time"),
    mapping: str = typer.Option("", "--mapping", metavar="NAME", help="how the file's columns are to be read"),
    simulate: bool = typer.Option(False, "--simulate", help="learn from simulated transactions instead of a file"),
    output: Path | None = typer.Option(None, "--output", metavar="DIR", help="[default: var/models/NAME]"),
    name: str = typer.Option("vedette", "--name", help="what the model is called"),
    features: FeatureSet = typer.Option(FeatureSet.all, "--features", help="published: the handbook's fifteen"),
    history: int = typer.Option(0, "--history", metavar="DAYS", min=0, help="train on that many days; 0: on all"),
    since: str = typer.Option("", "--from", metavar="TIME", help="leave out what is before"),
    until: str = typer.Option("", "--to", metavar="TIME", help="leave out what is from then on"),
    contact_cost: int = typer.Option(500, "--contact-cost", min=0, help="minor units that a false alarm costs"),
    policy: Path | None = typer.Option(
        None, "--policy", metavar="FILE", help="whose limits features compare with (default: the one in force)"
    ),
    recipe: list[str] = typer.Option(
        [], "--set", metavar="NAME=VALUE", help="of the training, as `vedette tune` finds"
    ),
    engine: Engine = ENGINE,
    scheduler: str = SCHEDULER,
    threads: int = typer.Option(1, "--threads", min=1, help="training threads; 1 gives the same bytes on every run"),
    customers: int = typer.Option(5_000, "--customers", min=1, help="simulated customers"),
    days: int = typer.Option(90, "--days", min=1, help="simulated days"),
    seed: int = typer.Option(0, "--seed", min=0, help="of the simulation and of the training"),
    as_json: bool = typer.Option(False, "--json", help="end with one line of JSON"),
) -> None:
    """Train a model, measure it on the folds of the protocol, and write its folder.

    The file is checked first, as by `vedette check`; data with errors, and a training that leaks, are refused.
    """
    import msgspec
    from rich.console import Console

    from features.backfill import Backfill, backfill
    from features.catalogue import NAMES
    from models.evaluate import evaluate, mean, teaching
    from models.folder import save
    from models.frame import collect
    from models.guards.quality import stop_on_errors
    from models.protocol import PUBLISHED, Protocol
    from models.provenance import git_commit
    from models.train import train as fit
    from models.zoo.cluster import learner
    from vedette.clock import SystemClock

    place = at_work(engine, scheduler)
    notes = Console(stderr=True)
    rejects: Counter[str] = Counter()
    protocol = Protocol(history=history)
    config = _config(recipe, seed=seed, contact_cost=contact_cost, threads=threads)
    if not simulate:
        stop_on_errors(inspect(_of_file(file, mapping, since, until, Counter()), notes)[1])
    batches = _simulated(customers, days, seed) if simulate else _of_file(file, mapping, since, until, rejects)
    chosen = PUBLISHED if features is FeatureSet.published else NAMES
    frame = collect(_counted(backfill(batches, Backfill(limits_of(ctx, policy))), notes), chosen)
    for reason, rows in rejects.most_common():
        notes.print(f"{rows:,} rows left out: {reason}", style="yellow", markup=False, highlight=False)
    teachers = teaching(frame, protocol)
    with place as address, notes.status("training") as status:
        learn = learner(address)
        folds: list[FoldResult] = []
        for result in evaluate(frame, protocol, config, learn):
            folds.append(result)
            status.update(f"training: {len(folds)} of at most {protocol.folds} folds measured")
        model = fit(teachers, config, learn)
        folder = output or Path("var/models") / name
        contract = save(
            folder,
            model,
            teachers,
            name=name,
            label_delay_days=protocol.delay,
            folds=folds,
            created_at=SystemClock().now_ms(),
            git_commit=git_commit(Path(__file__).resolve().parents[1]),
        )
    Console(soft_wrap=True).print(_table(folds, model.validation))
    typer.echo(f"model {name}@{contract.version} of {len(teachers)} transactions written to {folder}")
    if as_json:
        report = {
            "model": f"{name}@{contract.version}",
            "folder": str(folder),
            "rows": len(teachers),
            "folds": folds,
            "mean": mean(folds) if folds else None,
            "validation": model.validation,
        }
        typer.echo(msgspec.json.encode(report).decode())


def _config(recipe: list[str], **known: int) -> "TrainingConfig":
    """The recipe of training, with what is to be different about it."""
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
    file: Path | None, mapping: str, since: str, until: str, rejects: "Counter[str]"
) -> "Iterator[pa.RecordBatch]":
    from producers.files import read_batches
    from producers.mapping import load_mapping
    from vedette.clock import parse_time
    from vedette.errors import InputError

    if file is None or not mapping:
        raise InputError("there is nothing to learn from", remedy="give FILE with --mapping NAME, or --simulate")
    return read_batches(
        file,
        load_mapping(mapping),
        start_ms=parse_time(since) if since else None,
        end_ms=parse_time(until) if until else None,
        on_reject=lambda reject: rejects.update([f"{reject.column} {reject.reason}"]),
    )


def _counted(batches: "Iterable[pa.RecordBatch]", notes: "Console") -> "Iterator[pa.RecordBatch]":
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("features"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=notes, transient=True) as progress:
        task = progress.add_task("features", total=None)
        for batch in batches:
            yield batch
            progress.advance(task, batch.num_rows)


def _table(folds: "list[FoldResult]", validation: "Metrics") -> "Table":
    import msgspec
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from models.evaluate import mean
    from vedette.clock import format_time

    headings = ("frauds", "AUC", "AP", "CP@100", "prec.", "recall", "R@1%", "ECE", "saved")
    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        caption="prec. and recall at the threshold of lowest cost; R@1%: recall while 1 % of the honest payments are "
        "flagged; ECE: calibration error; saved: share of the loss without any model",
    )
    table.add_column("test from", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)

    def add(title: str, row: dict[str, float]) -> None:
        shares = (row[key] for key in ("auc", "average_precision", "card_precision_100"))
        at_threshold = (row[key] for key in ("precision", "recall", "recall_at_fpr"))
        table.add_row(
            title,
            f"{row['frauds']:,.0f}",
            *(f"{share:.3f}" for share in shares),
            *(f"{share:.3f}" for share in at_threshold),
            f"{row['calibration_error']:.4f}",
            f"{1 - row['cost'] / max(row['cost_without'], 1):.0%}",
        )

    for result in folds:
        add(format_time(result.test_start)[:10], msgspec.to_builtins(result.test))
    if folds:
        add("mean", mean(folds))
        table.add_section()
    add("validation", msgspec.to_builtins(validation))
    return table
