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
    trials: int = typer.Option(30, "--trials", min=1, help="number of settings to try, earlier runs included"),
    minutes: float = typer.Option(0, "--minutes", min=0, help="stop after this many minutes; 0: no limit"),
    steps: int = typer.Option(3, "--steps", min=1, help="validations, each one test length after the previous one"),
    grid: list[str] = typer.Option(
        [], "--grid", metavar="NAME=V,V…", help="try all combinations instead (may be repeated)"
    ),
    automl: bool = typer.Option(False, "--automl", help="let TPOT search whole pipelines instead (extra automl)"),
    cache: Path = CACHE,
    seed: int = SEED,
    threads: int = THREADS,
    as_json: bool = JSON,
) -> None:
    """Search for parameters on the rows before the first test of the protocol; an interrupted search continues."""
    import msgspec

    from adapters.extras import require_extra
    from models.compare import spec
    from models.zoo import search
    from models.zoo.requirements import missing_requirement
    from vedette.errors import UnavailableError

    if automl:
        require_extra("automl", "the search for pipelines", "tpot")
    elif not grid:
        require_extra("models", "the search for parameters (--grid does without)", "optuna")
    known = spec.load(protocol)
    (entry, *_) = spec.narrow(known, (model,), deep=True)
    if reason := missing_requirement(entry):
        raise UnavailableError(f"{entry.title} cannot run here: {reason}")
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
    typer.echo(f"{found.trials} settings tried, {found.pruned} pruned; mean AP {found.average_precision:.4f}")
    for name, value in found.parameters.items():
        typer.echo(f"  {name} = {value}")
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
