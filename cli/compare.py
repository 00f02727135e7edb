"""`vedette compare`: every entry of a protocol on the same rows, beside the published figures."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from rich.table import Table

    from models.compare.run import Verdict
    from models.compare.source import Case
    from models.compare.spec import Spec
    from models.zoo import Entry
    from producers.convert import Reject

WIDTH = 150
"""Columns that the table takes, also where the terminal has fewer."""


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command()(compare)


def compare(
    protocol: str = typer.Option(
        "handbook", "--protocol", metavar="handbook|ulb|FILE", help="what is compared, on what"
    ),
    models: str = typer.Option("", "--models", metavar="NAME,…", help="only these models [default: all but the deep]"),
    transactions: list[Path] = typer.Option([], "--transactions", metavar="FILE", help="the oldest first (repeat it)"),
    train_start: str = typer.Option("", "--train-start", metavar="DATE,…", help="other folds: the days they start on"),
    training: Path | None = typer.Option(None, "--train", metavar="FILE", help="of a table: the rows that teach"),
    test: Path | None = typer.Option(None, "--test", metavar="FILE", help="of a table: the later rows that judge"),
    deep: bool = typer.Option(False, "--deep", help="with the entries that need Keras"),
    cache: Path = typer.Option(
        Path("var/compare"), "--cache", metavar="DIR", help="features and verdicts are kept here"
    ),
    report: Path = typer.Option(Path("var/compare/report.html"), "--report", metavar="FILE", help="the HTML report"),
    threads: int = typer.Option(2, "--threads", min=1, help="threads of one training"),
    seed: int = typer.Option(0, "--seed", min=0, help="of everything random"),
    as_json: bool = typer.Option(False, "--json", help="end with one line of JSON"),
) -> None:
    """Compare models on the same rows, each trained, calibrated and judged alike; interrupt and go on at will."""
    import time

    import msgspec
    from rich.console import Console

    from cli.progress import bars
    from models.compare import run, spec
    from models.compare.report import write
    from models.compare.rows import row

    known = spec.load(protocol)
    entries = spec.narrow(known, tuple(filter(None, models.split(","))), deep=deep)
    cases = cases_of(known, transactions, train_start, training, test, cache)
    judged_once = run.Judge(
        cache / "verdicts", contact_cost=known.contact_cost, clock=time.monotonic, seed=seed, threads=threads
    )
    judged: list[tuple[Entry, list[Verdict]]] = []
    with bars() as bar:
        show = bar("trainings", len(entries) * len(cases))
        done = 0
        for entry in entries:
            verdicts: list[Verdict] = []
            for case in cases:
                verdicts.append(judged_once(entry, case))
                done += 1
                show(done)
            judged.append((entry, verdicts))
    rows = [row(entry, [verdict.outcome for verdict in verdicts]) for entry, verdicts in judged]
    write(report, known, cases, judged)
    wide = max(Console().width, WIDTH)
    Console(width=wide).print(_printed(known, rows))
    typer.echo(f"report written to {report}")
    if as_json:
        typer.echo(msgspec.json.encode({"rows": rows}).decode())


def cases_of(
    known: "Spec", transactions: list[Path], train_start: str, training: Path | None, test: Path | None, cache: Path
) -> "list[Case]":
    """The folds or the split of a protocol, from the files named or else its own."""
    if known.kind == "stream":
        return _stream(known, transactions, train_start, cache)
    return _table(known, training, test)


def _stream(known: "Spec", transactions: list[Path], train_start: str, cache: Path) -> "list[Case]":
    from features.backfill import backfill
    from features.catalogue import NAMES, catalogue_hash
    from models.compare import source
    from models.protocol import Protocol
    from vedette.clock import parse_time

    files = transactions or [_first(known)]
    data = source.digest(source.file_digest(files).encode(), catalogue_hash().encode(), known.mapping.encode())
    folder = cache / "features" / data[:16]
    frame = source.kept(folder)
    if frame is None:
        source.keep(folder, backfill(_batches(files, known.mapping)), NAMES)
        frame = source.kept(folder)
    if frame is None:
        raise typer.Exit(1)
    lengths = known.folds
    protocol = Protocol(
        training=lengths.training, delay=lengths.delay, test=lengths.test, folds=lengths.number, history=0
    )
    days = tuple(train_start.split(",")) if train_start else lengths.starts
    return source.stream_cases(frame, protocol, tuple(parse_time(day) for day in days), data)


def _table(known: "Spec", training: Path | None, test: Path | None) -> "list[Case]":
    import pyarrow.parquet as pq

    from models.compare import source
    from vedette.errors import InputError

    if known.columns is None:
        raise InputError("a protocol of kind table needs [columns]", remedy="name time, amount and label there")
    if test and not training:
        raise InputError("--test goes with --train", remedy="name both files")
    files = [training or _first(known), *([test] if test else [])]
    data = source.file_digest(files)
    frame = source.table(files, known.columns)
    judged = pq.read_metadata(test).num_rows if test else round(len(frame) * known.test_share)
    return [source.table_case(frame, judged, data)]


def _first(known: "Spec") -> Path:
    from vedette.errors import InputError

    for file in known.files:
        if Path(file).exists():
            return Path(file)
    raise InputError(
        f"the data of the protocol is at none of: {', '.join(known.files) or '(no file named)'}",
        remedy="name it with --transactions FILE, or --train FILE for a table",
    )


def _batches(files: list[Path], mapping: str) -> "Iterator[pa.RecordBatch]":
    from cli.progress import bars
    from producers.files import read_batches
    from producers.mapping import load_mapping
    from vedette.errors import InputError

    def refuse(reject: "Reject") -> None:
        raise InputError(
            f"row {reject.line}, column {reject.column}: {reject.value!r} {reject.reason}",
            remedy="features can only be compared when every transaction is there",
        )

    with bars() as bar:
        show, done = bar("features", None), 0
        for file in files:
            for batch in read_batches(file, load_mapping(mapping), on_reject=refuse):
                yield batch
                done += len(batch)
                show(done)


def _printed(known: "Spec", rows: "list[dict[str, Any]]") -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    published = {row.model: row for row in known.published}
    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        caption="± half the 95 % bootstrap interval; F1 at the threshold chosen on validation; R@: recall while that "
        "share of the honest payments is flagged; ECE: calibration error; saved: share of the loss without any model",
    )
    table.add_column("model", no_wrap=True)
    for heading in ("AUC", "AP", "CP@100", "F1", "R@.1%", "R@.5%", "R@1%", "ECE", "saved", "fit s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            _title(row),
            *(_with_interval(row, name) for name in ("auc", "ap", "cp100")),
            *(f"{row[f'{name}']:.3f}" for name in ("f1", "recall_at_fpr_01", "recall_at_fpr_05", "recall_at_fpr_1")),
            f"{row['calibration_error']:.4f}",
            f"{row['saved']:.0%}",
            f"{row['fit_s']:.1f}",
        )
        same = row["imbalance"] == "none" and (row["features"] == "published" or known.kind == "table")
        if same and (beside := published.get(str(row["model"]))):
            figures = (beside.auc, beside.ap, beside.cp100)
            table.add_row(
                "  published", *("" if value is None else f"{value:.3f}      " for value in figures), style="dim"
            )
    return table


def _title(row: "dict[str, Any]") -> str:
    title = str(row["model"]) if row["imbalance"] == "none" else f"{row['model']} + {row['imbalance']}"
    features = "15 features" if row["features"] == "published" else "all features"
    return f"{title}, {features}, {row['history']} d" if row["history"] else title


def _with_interval(row: "dict[str, Any]", name: str) -> str:
    if row[name] is None:
        return ""
    low, high = row["intervals"][name]
    return f"{row[name]:.3f} ±{(high - low) / 2:.3f}"
