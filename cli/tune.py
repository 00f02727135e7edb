"""`vedette tune`: search for an entry's parameters by prequential validation."""

from pathlib import Path

import typer

from cli.parameters import choices
from cli.protocol import CACHE, JSON, PROTOCOL, SEED, THREADS, TRAINING, TRANSACTIONS, cases_of


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command()(tune)


def tune(
    model: str = typer.Argument(help="a model of the protocol, such as xgboost"),
    protocol: str = PROTOCOL,
    transactions: list[Path] = TRANSACTIONS,
    training: Path | None = TRAINING,
    trials: int = typer.Option(30, "--trials", min=1, help="how many settings to try, earlier runs included"),
    minutes: float = typer.Option(0, "--minutes", min=0, help="stop after that long; 0: never"),
    steps: int = typer.Option(3, "--steps", min=1, help="validations, each a test's length after the one before"),
    grid: list[str] = typer.Option([], "--grid", metavar="NAME=V,V…", help="try all of these instead (repeat it)"),
    automl: bool = typer.Option(False, "--automl", help="let TPOT search whole pipelines instead (extra automl)"),
    cache: Path = CACHE,
    seed: int = SEED,
    threads: int = THREADS,
    as_json: bool = JSON,
) -> None:
    """Search on what precedes the first test of the protocol; interrupt and go on at will."""
    import msgspec

    from models.compare import spec
    from models.zoo import search

    known = spec.load(protocol)
    (entry, *_) = spec.narrow(known, (model,), deep=True)
    first = cases_of(known, transactions, "", training, None, cache)[0]
    frame = first.frame.take(slice(0, int(first.training[-1]) + 1))
    pairs = (
        search.prequential(frame, days=known.folds.test, delay=known.folds.delay, steps=steps)
        if known.kind == "stream"
        else search.parts(frame, steps)
    )
    if automl:
        from models.zoo import automl as tpot

        found = tpot.search(entry, frame, pairs, minutes=minutes or 10, seed=seed, threads=threads)
    elif grid:
        found = search.grid(entry, frame, pairs, choices(grid), seed=seed, threads=threads)
    else:
        found = search.optimise(
            entry, frame, pairs, trials=trials, seconds=minutes * 60 or None,
            storage=cache / "trials" / f"{first.digest[:16]}-{seed}.db", seed=seed, threads=threads,
        )  # fmt: skip
    typer.echo(f"{found.trials} settings tried, {found.pruned} given up early; mean AP {found.average_precision:.4f}")
    for name, value in found.parameters.items():
        typer.echo(f"  {name} = {value}")
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
