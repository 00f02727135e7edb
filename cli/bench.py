"""`vedette bench`: every performance claim, measured. Run it alone on the machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

_BROKER = typer.Option("apache", "--broker", help="apache or embedded")
_REDIS = typer.Option("system", "--redis", help="system or embedded")
_PARTITIONS = typer.Option(4, "--partitions", metavar="N", min=1, help="of the topics")
_JSON = typer.Option(False, "--json", help="print one JSON object as the last line")


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    group = typer.Typer(
        help="Measure Vedette beside its references; run it alone on the machine.", no_args_is_help=True
    )
    for command in (throughput, latency, state, recovery, growth, workers, challenges, faults, notify):
        group.command()(command)
    app.add_typer(group, name="bench")


def throughput(
    transactions: int = typer.Option(500_000, "--transactions", metavar="N", min=10_000, help="how many"),
    accounts: int = typer.Option(50_000, "--accounts", metavar="N", min=100, help="of how many accounts"),
    partitions: int = _PARTITIONS,
    broker: str = _BROKER,
    redis: str = _REDIS,
    as_json: bool = _JSON,
) -> None:
    """Transactions per second of one worker, beside a naive one, Quix Streams and the bare calls in the same run."""
    from bench.throughput import measure

    with _directory() as directory:
        result = measure(
            directory, transactions=transactions, accounts=accounts, partitions=partitions, broker=broker,
            redis=redis, say=_say,
        )  # fmt: skip
    if as_json:
        _print(result, as_json)
        return
    typer.echo(f"vedette {result.vedette:>9,.0f}/s")
    typer.echo(f"naive   {result.naive:>9,.0f}/s   vedette is {result.vedette / result.naive:.0f} times as fast")
    typer.echo(f"quix    {result.quix:>9,.0f}/s   vedette is {result.vedette / result.quix:.1f} times as fast")
    typer.echo(f"limit   {result.limit:>9,.0f}/s   vedette reaches {result.vedette / result.limit:.0%} of it")
    for stage, microseconds in result.stages_us.items():
        typer.echo(f"  {stage:<9} {microseconds:6.2f} µs per transaction")


def latency(
    rate: int = typer.Option(2_000, "--rate", metavar="N", min=1, help="transactions per second"),
    seconds: int = typer.Option(20, "--seconds", metavar="N", min=1, help="measured, after warming up"),
    partitions: int = _PARTITIONS,
    broker: str = _BROKER,
    redis: str = _REDIS,
    as_json: bool = _JSON,
) -> None:
    """Milliseconds from the produce call of a transaction to its decision readable, at a steady rate."""
    from bench.latency import measure

    with _directory() as directory:
        result = measure(
            directory, rate=rate, seconds=seconds, partitions=partitions, broker=broker, redis=redis, say=_say
        )
    _print(result, as_json)


def state(
    accounts: int = typer.Option(1_000_000, "--accounts", metavar="N", min=1_000, help="how many"),
    redis: str = _REDIS,
    as_json: bool = _JSON,
) -> None:
    """Bytes of Redis memory per account with twenty payments in its windows."""
    from bench.state import measure

    with _directory() as directory:
        _print(measure(directory, accounts=accounts, redis_kind=redis, say=_say), as_json)


def recovery(
    named: bool = typer.Option(True, "--named/--unnamed", help="whether the worker has an instance name"),
    broker: str = _BROKER,
    redis: str = _REDIS,
    as_json: bool = _JSON,
) -> None:
    """Seconds from kill -9 of the worker to the first decision of the next one."""
    from bench.recovery import measure

    with _directory() as directory:
        _print(measure(directory, named=named, broker=broker, redis=redis, say=_say), as_json)


def growth(
    transactions: int = typer.Option(1_000_000, "--transactions", metavar="N", min=10_000, help="in each run"),
    few: int = typer.Option(10_000, "--few", metavar="N", help="accounts of the first run"),
    many: int = typer.Option(1_000_000, "--many", metavar="N", help="accounts of the second run"),
    broker: str = _BROKER,
    redis: str = _REDIS,
    as_json: bool = _JSON,
) -> None:
    """Throughput with few and with many accounts, and the worker's memory."""
    from bench.growth import measure

    with _directory() as directory:
        result = measure(directory, transactions=transactions, few=few, many=many, broker=broker, redis=redis, say=_say)
    _print(result, as_json)


def workers(
    transactions: int = typer.Option(300_000, "--transactions", metavar="N", min=10_000, help="in each run"),
    accounts: int = typer.Option(50_000, "--accounts", metavar="N", min=100, help="of how many accounts"),
    broker: str = _BROKER,
    redis: str = _REDIS,
    as_json: bool = _JSON,
) -> None:
    """Processor time per transaction of one worker, and of two that share the partitions; what two lose or double."""
    from bench.workers import measure

    with _directory() as directory:
        result = measure(directory, transactions=transactions, accounts=accounts, broker=broker, redis=redis, say=_say)
    _print(result, as_json)


def challenges(
    count: int = typer.Option(5_000, "--challenges", metavar="N", min=100, help="issued and settled"),
    guesses: int = typer.Option(10_000, "--guesses", metavar="N", min=100, help="on challenges of one account"),
    broker: str = _BROKER,
    redis: str = _REDIS,
    as_json: bool = _JSON,
) -> None:
    """Challenges issued and settled per second by one process, and what haste and guessing get through."""
    from bench.challenges import measure

    with _directory() as directory:
        result = measure(directory, challenges=count, guesses=guesses, broker=broker, redis=redis, say=_say)
    _print(result, as_json)


def faults(
    only: str = typer.Option("", "--only", metavar="N,…", help="only these, numbered as in docs/faults.md"),
    broker: str = _BROKER,
    redis: str = _REDIS,
    as_json: bool = _JSON,
) -> None:
    """Do every fault to real workers, and compare what is left, bit for bit, with a run that nothing happened to.

    It takes up to ten minutes on two cores of its own. Exit code 1 if one did not hold.
    """
    import json

    from bench.faults.trial import chosen, measure
    from cli.progress import bars
    from vedette.errors import InputError

    try:
        numbers = [int(number) for number in only.split(",") if number]
    except ValueError as error:
        raise InputError(f"--only {only} is no list of numbers", remedy="as in --only 1,2,3") from error
    rows: list[dict[str, Any]] = []
    typer.echo("fault  held  lost  doubled  changed  seconds  what")
    with _directory() as directory, bars() as bar:
        show = bar("faults", len(chosen(numbers)))
        for scenario, trial in measure(directory, only=numbers, broker=broker, redis=redis):  # type: ignore[arg-type]
            difference = trial.difference
            row = {
                "fault": scenario.fault,
                "held": trial.held,
                "lost": len(difference.lost),
                "doubled": len(difference.doubled),
                "changed": len(difference.changed),
                "seconds": trial.seconds,
            }
            rows.append(row)
            held = "yes" if trial.held else "NO"
            typer.echo(
                f"{row['fault']:>5}  {held:<4}  {row['lost']:>4}  {row['doubled']:>7}  {row['changed']:>7}  "
                f"{trial.seconds:>7.2f}  {scenario.what}"
            )
            if trial.failure:
                typer.echo(f"       {trial.failure}", err=True)
            show(len(rows))
    if as_json:
        typer.echo(json.dumps({"faults": rows}))
    if not all(row["held"] for row in rows):
        raise typer.Exit(1)


def notify(
    alerts: int = typer.Option(20_000, "--alerts", metavar="N", min=1, help="how many"),
    kill_every: float = typer.Option(2.0, "--kill-every", metavar="SECONDS", min=0.0, help="kill -9; 0: never"),
    broker: str = _BROKER,
    as_json: bool = _JSON,
) -> None:
    """Alerts told by SMS while the notifier is killed again and again: lost, doubled, in doubt, and how fast."""
    from bench.notify import measure
    from cli.progress import bars

    with _directory() as directory, bars() as bar:
        show = bar("SMS", alerts)
        result = measure(directory, alerts=alerts, kill_every_s=kill_every, broker=broker, say=_say, show=show)
    _print(result, as_json)


@contextmanager
def _directory() -> Iterator[Path]:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="vedette-bench-") as directory:
        yield Path(directory)


def _say(text: str) -> None:
    typer.echo(f"{text} …", err=True)


def _print(result: Any, as_json: bool) -> None:
    import dataclasses
    import json

    values = dataclasses.asdict(result)
    if as_json:
        typer.echo(json.dumps(values))
        return
    for name, value in values.items():
        typer.echo(f"{name.replace('_', ' '):<18} {value:,}" if isinstance(value, int | float) else f"{name} {value}")
