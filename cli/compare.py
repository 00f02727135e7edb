"""`vedette compare`: every entry of a protocol on the same rows, beside the published figures."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cli.engine import ENGINE, SCHEDULER, Engine, at_work
from cli.protocol import CACHE, JSON, PROTOCOL, SEED, THREADS, TRAINING, TRANSACTIONS, cases_of

if TYPE_CHECKING:
    from rich.table import Table

    from models.compare.run import Verdict
    from models.compare.spec import Spec
    from models.zoo import Entry

WIDTH = 150
"""Columns that the table takes, also where the terminal has fewer."""


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command()(compare)


def compare(
    protocol: str = PROTOCOL,
    models: str = typer.Option("", "--models", metavar="NAME,…", help="only these models [default: all but the deep]"),
    transactions: list[Path] = TRANSACTIONS,
    train_start: str = typer.Option("", "--train-start", metavar="DATE,…", help="other folds: the days they start on"),
    training: Path | None = TRAINING,
    test: Path | None = typer.Option(None, "--test", metavar="FILE", help="of a table: the later rows that judge"),
    deep: bool = typer.Option(False, "--deep", help="with the entries that need Keras"),
    cache: Path = CACHE,
    report: Path = typer.Option(Path("var/compare/report.html"), "--report", metavar="FILE", help="the HTML report"),
    engine: Engine = ENGINE,
    scheduler: str = SCHEDULER,
    threads: int = THREADS,
    seed: int = SEED,
    as_json: bool = JSON,
) -> None:
    """Compare models on the same rows, each trained, calibrated and judged alike; interrupt and go on at will."""
    import time

    import msgspec
    from rich.console import Console

    from cli.progress import bars
    from models.compare import run, spec
    from models.compare.report import write
    from models.compare.rows import row

    place = at_work(engine, scheduler)
    known = spec.load(protocol)
    entries = spec.narrow(known, tuple(filter(None, models.split(","))), deep=deep)
    cases = cases_of(known, transactions, train_start, training, test, cache)
    judged: list[tuple[Entry, list[Verdict]]] = []
    with place as address, bars() as bar:
        judged_once = run.Judge(
            cache / "verdicts", contact_cost=known.contact_cost, clock=time.monotonic,
            seed=seed, threads=threads, scheduler=address,
        )  # fmt: skip
        show = bar("trainings", len(entries) * len(cases))
        done = 0
        for entry in entries:
            verdicts: list[Verdict] = []
            for case in cases:
                verdicts.append(judged_once(entry, case))
                done += 1
                show(done)
            judged.append((entry, verdicts))
    rows = [row(entry, verdicts, cases) for entry, verdicts in judged]
    write(report, known, cases, judged)
    wide = max(Console().width, WIDTH)
    console = Console(width=wide)
    console.print(_printed(known, rows))
    if scenarios := rows[0]["scenarios"]:
        console.print(_caught(rows, list(scenarios)))
    typer.echo(f"report written to {report}")
    if as_json:
        typer.echo(msgspec.json.encode({"rows": rows}).decode())


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


def _title(row: "dict[str, Any]") -> str:
    title = str(row["model"]) if row["imbalance"] == "none" else f"{row['model']} + {row['imbalance']}"
    features = "15 features" if row["features"] == "published" else "all features"
    return f"{title}, {features}, {row['history']} d" if row["history"] else title


def _with_interval(row: "dict[str, Any]", name: str) -> str:
    if row[name] is None:
        return ""
    low, high = row["intervals"][name]
    return f"{row[name]:.3f} ±{(high - low) / 2:.3f}"
