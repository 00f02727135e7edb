"""`vedette bench`: every performance claim, measured. Run it alone on the machine."""

import inspect
import json
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.measurement import Measurement, Setup

Broker = Literal["apache", "embedded"]
Redis = Literal["system", "embedded"]

_PARTITIONS = typer.Option(4, "--partitions", metavar="N", min=1, help="number of partitions of each topic")
_TRANSACTIONS = typer.Option(500_000, "--transactions", metavar="N", min=1_000, help="number of transactions")
_ACCOUNTS = typer.Option(50_000, "--accounts", metavar="N", min=100, help="number of their accounts")
_BROKER = typer.Option("apache", "--broker", help="broker to start")
_REDIS = typer.Option("system", "--redis", help="Redis to start")
_JSON = typer.Option(False, "--json", help="print one JSON object as the last line")


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    group = typer.Typer(help="Measure Vedette and its references; run it alone on the machine.", no_args_is_help=True)
    for measurement in (throughput, latency, recovery, growth, workers, challenges, hostile, gateway):
        group.command(measurement.__name__)(_command(measurement))
    group.command("state")(_command(state, broker=False))
    group.command("notify")(_command(notify, redis=False))
    group.command("archive")(_command(archive, redis=False))
    group.command()(idle)
    group.command()(profile)
    group.command()(faults)
    group.command()(rings)
    app.add_typer(group, name="bench")


def _command(measurement: "Callable[..., Measurement]", *, broker: bool = True, redis: bool = True) -> Any:
    """Make a command from a function that takes a setup, and print its result.

    Args:
        measurement: The function; its other parameters become options.
        broker: Whether the broker matters and so can be chosen; otherwise the embedded one is started.
        redis: Whether the Redis matters and so can be chosen; otherwise the embedded one is started.
    """

    def command(as_json: bool, **options: Any) -> None:
        _require_packages()
        with _setup(options.pop("broker", "embedded"), options.pop("redis", "embedded")) as setup:
            result = measurement(setup, **options)
        _print(result, as_json)

    own = [parameter for name, parameter in inspect.signature(measurement).parameters.items() if name != "setup"]
    shared = [("broker", _BROKER, Broker)] * broker + [("redis", _REDIS, Redis)] * redis + [("as_json", _JSON, bool)]
    parameters = own + [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=option, annotation=kind)
        for name, option, kind in shared
    ]
    command.__doc__ = measurement.__doc__
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _require_packages() -> None:
    """Check, before anything starts, that what measures processes is installed."""
    from adapters.extras import require_extra

    require_extra("bench", "a benchmark", "psutil")


def _print(result: "Measurement", as_json: bool) -> None:
    typer.echo(json.dumps(result.values()) if as_json else "\n".join(result.lines()))


@contextmanager
def _setup(broker: Broker, redis: Redis) -> "Iterator[Setup]":
    from bench.measurement import Setup

    with tempfile.TemporaryDirectory(prefix="vedette-bench-") as directory:
        yield Setup(Path(directory), broker, redis, lambda text: typer.echo(f"{text} …", err=True))


def idle(
    seconds: int = typer.Option(
        60, "--seconds", metavar="N", min=1, help="seconds to measure after everything is settled"
    ),
    broker: Broker = typer.Option("embedded", "--broker", help="broker to start"),
    redis: Redis = typer.Option("embedded", "--redis", help="Redis to start"),
    as_json: bool = _JSON,
) -> None:
    """Measure the processors that each process of a demo uses while nothing happens."""
    _require_packages()
    from bench.idle import measure

    with _setup(broker, redis) as setup:
        result = measure(setup, seconds)
    _print(result, as_json)


def throughput(
    setup: "Setup",
    *,
    transactions: int = _TRANSACTIONS,
    accounts: int = _ACCOUNTS,
    partitions: int = _PARTITIONS,
) -> "Measurement":
    """Measure transactions per second of one worker, a naive one, Quix Streams and the bare calls, in one run."""
    from bench.throughput import measure

    return measure(setup, transactions=transactions, accounts=accounts, partitions=partitions)


def latency(
    setup: "Setup",
    *,
    rate: list[int] = typer.Option([2_000], "--rate", metavar="N", min=1, help="payments per second (repeat it)"),
    idle: bool = typer.Option(
        False, "--idle", help="measure at 50 payments per second, the load of a small institution"
    ),
    seconds: int = typer.Option(20, "--seconds", metavar="N", min=1, help="length of each measurement"),
    turns: int = typer.Option(3, "--turns", metavar="N", min=1, help="measurements of each; medians are reported"),
    only: list[str] = typer.Option(
        [], "--only", metavar="NAME", help="floor, quix or vedette (repeat it) [default: all]"
    ),
    partitions: int = _PARTITIONS,
) -> "Measurement":
    """Measure the time from produce to a readable decision: a bare loop, Quix Streams and Vedette in turn."""
    from bench.latency import CONTENDERS, IDLE_RATE, measure
    from vedette.errors import InputError

    if unknown := set(only) - set(CONTENDERS):
        raise InputError(f"there is no contender {min(unknown)}", remedy=f"one of {', '.join(CONTENDERS)}")
    rates = [IDLE_RATE] if idle else rate
    return measure(
        setup, rates=rates, seconds=seconds, turns=turns, partitions=partitions, contenders=only or CONTENDERS
    )


def profile(
    *,
    seconds: float = typer.Option(2.0, "--seconds", metavar="N", min=0.1, help="time spent on each batch size"),
    as_json: bool = _JSON,
) -> None:
    """Measure the time per batch and per payment by stage, for six batch sizes, in one process without a broker."""
    _require_packages()
    from bench.profile import measure

    _print(measure(seconds=seconds), as_json)


def state(
    setup: "Setup",
    *,
    accounts: int = typer.Option(1_000_000, "--accounts", metavar="N", min=1_000, help="number of accounts"),
) -> "Measurement":
    """Measure the bytes of Redis memory per account with twenty payments in its windows."""
    from bench.state import measure

    return measure(setup, accounts=accounts)


def recovery(
    setup: "Setup",
    *,
    named: bool = typer.Option(True, "--named/--unnamed", help="whether the worker has an instance name"),
) -> "Measurement":
    """Measure the seconds from kill -9 of the worker to the first decision of the next one."""
    from bench.recovery import measure

    return measure(setup, named=named)


def growth(
    setup: "Setup",
    *,
    transactions: int = typer.Option(1_000_000, "--transactions", metavar="N", min=1_000, help="number in each run"),
    few: int = typer.Option(10_000, "--few", metavar="N", min=100, help="accounts of the first run"),
    many: int = typer.Option(1_000_000, "--many", metavar="N", min=100, help="accounts of the second run"),
) -> "Measurement":
    """Measure the throughput with few and with many accounts, and the worker's memory."""
    from bench.growth import measure

    return measure(setup, transactions=transactions, few=few, many=many)


def workers(
    setup: "Setup",
    *,
    transactions: int = typer.Option(300_000, "--transactions", metavar="N", min=1_000, help="number in each run"),
    accounts: int = _ACCOUNTS,
) -> "Measurement":
    """Measure processor time per transaction of one worker and of two, and what two lose or duplicate."""
    from bench.workers import measure

    return measure(setup, transactions=transactions, accounts=accounts)


def challenges(
    setup: "Setup",
    *,
    count: int = typer.Option(5_000, "--challenges", metavar="N", min=100, help="number issued and settled"),
    guesses: int = typer.Option(10_000, "--guesses", metavar="N", min=100, help="codes tried on one account"),
) -> "Measurement":
    """Measure challenges settled per second by one process, and its resistance to parallel answers and guessing."""
    from bench.challenges import measure

    return measure(setup, challenges=count, guesses=guesses)


def hostile(
    setup: "Setup",
    *,
    clients: int = typer.Option(50, "--clients", metavar="N", min=5, help="number of parallel hostile clients"),
    seconds: float = typer.Option(20.0, "--seconds", metavar="N", min=2.0, help="length of the attack"),
) -> "Measurement":
    """Measure the latency of an honest challenge among hostile clients, and the memory of the service."""
    from bench.hostile import measure

    return measure(setup, clients=clients, seconds=seconds)


def notify(
    setup: "Setup",
    *,
    alerts: int = typer.Option(20_000, "--alerts", metavar="N", min=1, help="number of alerts"),
    kill_every: float = typer.Option(2.0, "--kill-every", metavar="SECONDS", min=0.0, help="0 kills none"),
) -> "Measurement":
    """Send alerts by SMS while the notifier is repeatedly killed; count lost, duplicate and unknown ones."""
    from bench.notify import measure
    from cli.progress import bars

    with bars() as bar:
        return measure(setup, alerts=alerts, kill_every_s=kill_every, show=bar("SMS", alerts))


def archive(
    setup: "Setup",
    *,
    payments: int = typer.Option(10_000_000, "--payments", metavar="N", min=1_000, help="payments in the archive"),
    decisions: int = typer.Option(1_000_000, "--decisions", metavar="N", min=1_000, help="archived from the broker"),
    days: int = typer.Option(180, "--days", metavar="N", min=1, help="days over which the payments are spread"),
) -> "Measurement":
    """Decisions archived per second, milliseconds of questions over months of payments, bytes and memory."""
    from adapters.extras import require_extra

    require_extra("archive", "the archive", "deltalake")
    from bench.archive import measure
    from cli.progress import bars

    with bars() as bar:
        return measure(setup, payments=payments, decisions=decisions, days=days, show=bar("payments", payments))


def rings(
    folder: Path = typer.Argument(..., help="*_transactions.parquet and *_accounts.parquet of two kinds of rings"),
    as_json: bool = _JSON,
) -> None:
    """Rank accounts by their part in rings of transfers (AMLSim), with Vedette's features, degrees, and snapml."""
    from adapters.extras import require_extra

    require_extra("models", "the ranking", "lightgbm", "sklearn")
    from bench.rings import measure

    _print(measure(folder, say=lambda text: typer.echo(f"{text} …", err=True)), as_json)


def faults(
    only: str = typer.Option("", "--only", metavar="N,…", help="only these faults, numbered as in docs/faults.md"),
    broker: Broker = _BROKER,
    redis: Redis = _REDIS,
    as_json: bool = _JSON,
) -> None:
    """Inject every fault into real workers, and compare the output bit for bit with an undisturbed run.

    It takes up to ten minutes on two dedicated cores. A scenario that cannot be run is a row with the reason. The exit
    code is 1 if one did not hold.
    """
    _require_packages()
    from bench.faults.run import chosen, run_all
    from cli.progress import bars
    from vedette.errors import InputError

    try:
        numbers = [int(number) for number in only.split(",") if number]
    except ValueError as error:
        raise InputError(f"--only {only} is not a list of numbers", remedy="as in --only 1,2,3") from error
    scenarios = chosen(numbers)
    rows: list[dict[str, Any]] = []
    typer.echo("fault  held  lost  doubled  changed  unlike  seconds  what")
    with _setup(broker, redis) as setup, bars() as bar:
        show = bar("faults", len(scenarios))
        for scenario, result in run_all(setup, scenarios):
            row = result.row(scenario)
            rows.append(row)
            counts = {
                name: "?" if row[name] is None else row[name] for name in ("lost", "doubled", "changed", "unlike")
            }
            typer.echo(
                f"{row['fault']:>5}  {'yes' if row['held'] else 'NO':<4}  "
                f"{counts['lost']:>4}  {counts['doubled']:>7}  {counts['changed']:>7}  {counts['unlike']:>6}  "
                f"{row['seconds']:>7.2f}  {row['what']}"
            )
            if row["why"]:
                typer.echo(f"       {row['why']}", err=True)
            show(len(rows))
    if as_json:
        typer.echo(json.dumps({"faults": rows}))
    if not all(row["held"] for row in rows):
        raise typer.Exit(1)


def gateway(
    setup: "Setup",
    *,
    rate: int = typer.Option(500, "--rate", metavar="N", min=1, help="payments per second"),
    seconds: int = typer.Option(60, "--seconds", metavar="N", min=1, help="length of the measurement"),
    partitions: int = _PARTITIONS,
    vegeta: str = typer.Option("", "--vegeta", metavar="PROGRAM", help="the same load by this vegeta afterwards"),
) -> "Measurement":
    """Milliseconds from a payment's request to its answer through gateway and worker, and what was refused or lost."""
    from bench.gateway import measure

    return measure(setup, rate=rate, seconds=seconds, partitions=partitions, vegeta=vegeta)
