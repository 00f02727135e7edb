"""`vedette mirror`: decisions and other events in Avro or Protobuf, for systems that read nothing else."""

import typer

from cli.copying import JSON, REGISTRY, UNTIL_IDLE, settings_with


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(mirror)


def mirror(
    ctx: typer.Context,
    topic: str = typer.Argument(..., metavar="TOPIC", help="decisions, alerts, challenges or incidents"),
    target: str = typer.Option(
        "", "--to", metavar="NAME", help="full name of the other topic (default: <TOPIC>.<FORMAT>)"
    ),
    form: str = typer.Option("avro", "--format", metavar="FORMAT", help="avro or protobuf"),
    registry: str = REGISTRY,
    until_idle: float = UNTIL_IDLE,
    as_json: bool = JSON,
) -> None:
    """Copy one of Vedette's topics to another one in Avro or Protobuf, each message exactly once, until stopped.

    Metrics, health and readiness are on [bridge] metrics_port, and trouble is tried again after a pause; with
    --until-idle, it ends the command.
    """
    import dataclasses
    import json
    from contextlib import closing

    from adapters.extras import needs_extra
    from adapters.logs import service_log
    from cli.signals import stopped_by_signals

    with needs_extra("schemas", "a mirror"):
        from producers.bridge.mirror import MIRRORED, EventWriter, MirrorFormat, MirrorProgress
    from producers.bridge.mirror_endpoint import mirror_service, mirror_until_idle
    from vedette.clock import SystemClock
    from vedette.errors import InputError

    settings, clock, log, progress = (
        settings_with(ctx, registry),
        SystemClock(),
        service_log("mirror"),
        MirrorProgress(),
    )
    if topic not in MIRRORED:
        raise InputError(f"there is no mirror of {topic!r}", remedy=f"one of {', '.join(MIRRORED)}")
    if form not in [known.value for known in MirrorFormat]:
        raise InputError(f"there is no format {form!r}", remedy="avro or protobuf")
    target = target or f"{settings.topics.prefix}{topic}.{form}"
    with closing(EventWriter(MIRRORED[topic], target, settings.schemas, MirrorFormat(form))) as write:
        if until_idle:
            with stopped_by_signals() as stop:
                mirror_until_idle(
                    settings, topic, target, write, progress=progress, clock=clock, log=log, stop=stop,
                    until_idle_s=until_idle,
                )  # fmt: skip
        else:
            progress = mirror_service(settings, topic, target, write, clock=clock, log=log)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(progress)))
        return
    typer.echo(f"{progress.mirrored:,} messages mirrored, {progress.refused:,} refused", err=True)
