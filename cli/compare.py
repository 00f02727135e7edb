"""`vedette compare`: every entry of a protocol on the same rows, next to the published figures."""

from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cli.engine import ENGINE, SCHEDULER, Engine, cluster_of
from cli.protocol import CACHE, JSON, PROTOCOL, SEED, THREADS, TRAINING, TRANSACTIONS, cases_of

if TYPE_CHECKING:
    from rich.table import Table

    from models.compare.spec import Spec
    from models.zoo import ModelEntry

WIDTH = 150
"""Width of the table in columns, even on a narrower terminal."""


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command()(compare)


def compare(
    protocol: str = PROTOCOL,
    models: str = typer.Option("", "--models", metavar="NAME,…", help="only these models [default: all but the deep]"),
    transactions: list[Path] = TRANSACTIONS,
    train_start: str = typer.Option("", "--train-start", metavar="DATE,…", help="days on which the folds start"),
    training: Path | None = TRAINING,
    test: Path | None = typer.Option(None, "--test", metavar="FILE", help="of a table: the later rows, to test on"),
    deep: bool = typer.Option(False, "--deep", help="include the entries that need Keras"),
    cache: Path = CACHE,
    report: Path | None = typer.Option(
        None, "--report", metavar="FILE", help="HTML report [default: var/compare/report.html]"
    ),
    engine: Engine = ENGINE,
    scheduler: str = SCHEDULER,
    threads: int = THREADS,
    seed: int = SEED,
    as_json: bool = JSON,
) -> None:
    """Compare models on the same rows, all trained, calibrated and tested in the same way.

    Entries that cannot run are left out, with the reason, before anything is trained. Each row is printed when it is
    done; an interrupted comparison continues where it stopped.
    """
    import time

    import msgspec

    from cli.progress import bars
    from models.compare import run, spec
    from models.compare.rows import row

    page = _page(report)
    cluster = cluster_of(engine, scheduler)
    known = spec.load(protocol)
    entries = _runnable(spec.narrow(known, tuple(filter(None, models.split(","))), deep=deep))
    cases = cases_of(known, transactions, train_start, training, test, cache)
    compared: list[run.EntryResult] = []
    interrupted = False
    with cluster as address, bars() as bar:
        evaluate = run.Evaluator(
            cache / "results", contact_cost=known.contact_cost, clock=time.monotonic,
            seed=seed, threads=threads, scheduler=address,
        )  # fmt: skip
        show, done = bar("trainings", len(entries) * len(cases)), count(1)
        try:
            for entry in run.compare(entries, cases, evaluate, lambda: show(next(done))):
                compared.append(entry)
                typer.echo(_line(row(*entry, cases)), err=True)
        except KeyboardInterrupt:
            interrupted = True
    rows = [row(*entry, cases) for entry in compared]
    if rows:
        _print(known, rows)
    if interrupted:
        typer.echo(f"interrupted after {len(rows)} of {len(entries)} rows; the same command continues", err=True)
        raise typer.Exit(130)
    if page:
        from models.compare.report import write

        write(page, known, cases, compared)
        typer.echo(f"report written to {page}")
    if as_json:
        typer.echo(msgspec.json.encode({"rows": rows}).decode())


def _page(report: Path | None) -> Path | None:
    """Return the path of the report; None, with a note, if none was requested and Plotly is not installed.

    Raises:
        UnavailableError: A report was requested, and Plotly is not installed.
    """
    from adapters.extras import require_extra
    from vedette.errors import UnavailableError

    try:
        require_extra("models", "the report", "plotly")
    except UnavailableError as error:
        if report:
            raise
        typer.echo(f"no report: {error}", err=True)
        return None
    return report or Path("var/compare/report.html")


def _runnable(entries: "tuple[ModelEntry, ...]") -> "list[ModelEntry]":
    """Return the entries that can run here, and print why the others are left out.

    Raises:
        UnavailableError: None can run.
    """
    from models.zoo.requirements import missing_requirement
    from vedette.errors import UnavailableError

    runnable: list[ModelEntry] = []
    for entry in entries:
        if reason := missing_requirement(entry):
            typer.echo(f"left out: {entry.title}: {reason}", err=True)
        else:
            runnable.append(entry)
    if not runnable:
        raise UnavailableError("no row of the comparison can run here", remedy="install what is named above")
    return runnable


def _print(known: "Spec", rows: "list[dict[str, Any]]") -> None:
    from rich.console import Console

    console = Console(width=max(Console().width, WIDTH))
    console.print(_printed(known, rows))
    if scenarios := rows[0]["scenarios"]:
        console.print(_caught(rows, list(scenarios)))
    if any(not known["fraud"] for known in rows[0]["by_scenario"].values()):
        for rate, name in ((".1 %", "at_fpr_01"), (".5 %", "at_fpr_05")):
            console.print(_by_scenario(rows, rate, name))


def _line(row: "dict[str, Any]") -> str:
    """Return a row in one line, to show while the others are computed."""
    cards = "" if row["cp100"] is None else f", CP@100 {row['cp100']:.3f}"
    return f"{_title(row)}: AUC {row['auc']:.3f}, AP {row['ap']:.3f}{cards} ({row['fit_s']:.1f} s per training)"


def _printed(known: "Spec", rows: "list[dict[str, Any]]") -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    published = {row.model: row for row in known.published}
    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        caption="± half the 95 % bootstrap interval; F1 at the threshold chosen on validation; R@: recall while that "
        "share of the honest payments is flagged; ECE: calibration error; saved: share of the loss without any model"
        + "".join(
            f"; CP@100 of a perfect ranking: {row['best_cp100']:.3f}"
            for row in rows[:1]
            if row["best_cp100"] is not None
        ),
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


def _caught(rows: "list[dict[str, Any]]", scenarios: list[str]) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), caption="share of each scenario's frauds that is flagged")
    table.add_column("at the threshold chosen on validation", no_wrap=True)
    for scenario in scenarios:
        table.add_column(scenario.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(_title(row), *(f"{row['scenarios'].get(scenario, 0):.1%}" for scenario in scenarios))
    return table


def _by_scenario(rows: "list[dict[str, Any]]", rate: str, name: str) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        box=SIMPLE_HEAD, padding=(0, 1, 0, 0), caption="frauds: share found; look-alikes: share of false alarms"
    )
    table.add_column(f"flagged while {rate} of the honest payments are", no_wrap=True)
    table.add_column("payments", justify="right")
    for row in rows:
        table.add_column(_title(row), justify="right")
    last = True
    for scenario, known in rows[0]["by_scenario"].items():
        if last and not known["fraud"]:
            table.add_section()
        last = known["fraud"]
        shares = (row["by_scenario"][scenario][name] for row in rows)
        table.add_row(
            scenario.replace("_", " "),
            f"{known['payments']:,}",
            *(f"{share:.3f}" if last else f"{share:.2%}" for share in shares),
        )
    return table


def _title(row: "dict[str, Any]") -> str:
    title = str(row["model"]) if row["imbalance"] == "none" else f"{row['model']} + {row['imbalance']}"
    if row["features"] == "settled":
        title += ", no live features"
    if not row["history"]:
        return title
    features = {"published": ", 15 features", "all": ", all features"}.get(row["features"], "")
    return f"{title}{features}, {row['history']} d"


def _with_interval(row: "dict[str, Any]", name: str) -> str:
    if row[name] is None:
        return ""
    low, high = row["intervals"][name]
    return f"{row[name]:.3f} ±{(high - low) / 2:.3f}"
