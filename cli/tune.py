"""`vedette tune`: search for an entry's parameters by prequential validation."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from models.zoo.entry import Parameter


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command()(tune)


def tune(
    model: str = typer.Argument(help="a model of the protocol, such as xgboost"),
    protocol: str = typer.Option("handbook", "--protocol", metavar="handbook|ulb|FILE", help="its data and entry"),
    transactions: list[Path] = typer.Option([], "--transactions", metavar="FILE", help="the oldest first (repeat it)"),
    training: Path | None = typer.Option(None, "--train", metavar="FILE", help="of a table: the rows that teach"),
    trials: int = typer.Option(30, "--trials", min=1, help="how many settings to try, earlier runs included"),
    minutes: float = typer.Option(0, "--minutes", min=0, help="stop after that long; 0: never"),
    steps: int = typer.Option(3, "--steps", min=1, help="validations, each a test's length after the one before"),
    grid: list[str] = typer.Option([], "--grid", metavar="NAME=V,V…", help="try all of these instead (repeat it)"),
    automl: bool = typer.Option(False, "--automl", help="let TPOT search whole pipelines instead (extra automl)"),
    cache: Path = typer.Option(Path("var/compare"), "--cache", metavar="DIR", help="features and trials are kept here"),
    seed: int = typer.Option(0, "--seed", min=0, help="of everything random"),
    threads: int = typer.Option(2, "--threads", min=1, help="threads of one training"),
    as_json: bool = typer.Option(False, "--json", help="end with one line of JSON"),
) -> None:
    """Search on what precedes the first test of the protocol; interrupt and go on at will."""
    import msgspec

    from cli.compare import cases_of
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
        found = search.grid(entry, frame, pairs, _values(grid), seed=seed, threads=threads)
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


def _values(grid: list[str]) -> "dict[str, list[Parameter]]":
    import msgspec

    from vedette.errors import InputError

    found: dict[str, list[Parameter]] = {}
    for text in grid:
        name, equals, values = text.partition("=")
        if not equals:
            raise InputError(f"--grid {text!r} has no value", remedy="write it like max_depth=3,6")
        try:
            found[name] = [msgspec.json.decode(value, type=bool | int | float) for value in values.split(",")]
        except msgspec.MsgspecError as error:
            raise InputError(f"--grid {text!r}: {error}", remedy="give numbers, or true and false") from error
    return found
