"""`vedette bridge`: another institution's topic as transactions."""

import typer

from cli.copying import JSON, REGISTRY, UNTIL_IDLE, settings_with


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(bridge)


def bridge(
    ctx: typer.Context,
    topic: str = typer.Option(..., "--topic", metavar="NAME", help="the foreign topic, by its full name"),
    mapping: str = typer.Option(
        ..., "--mapping", metavar="NAME", help="mapping of its messages: a name or a .toml file"
    ),
    form: str = typer.Option("json", "--format", metavar="FORMAT", help="json, avro or protobuf"),
    registry: str = REGISTRY,
    instance: str = typer.Option(
        "", "--instance", metavar="NAME", help="name in the group, kept over restarts (default: [bridge] instance)"
    ),
    until_idle: float = UNTIL_IDLE,
    as_json: bool = JSON,
) -> None:
    """Turn a foreign topic into transactions, each message exactly once, until Ctrl-C or SIGTERM.

    Metrics, health and readiness are on [bridge] metrics_port, and trouble is tried again after a pause; with
    --until-idle, it ends the command.
    """
    import dataclasses
    import json
    from contextlib import closing

    import msgspec

    from adapters.logs import service_log
    from cli.signals import stopped_by_signals
    from producers.bridge.conversion import Conversion
    from producers.bridge.decoding import decoder
    from producers.bridge.endpoint import run_service, run_until_idle
    from producers.bridge.loop import BridgeProgress
    from producers.mapping import load_mapping
    from vedette.card_numbers import CardNumbers
    from vedette.clock import SystemClock

    settings, clock = settings_with(ctx, registry), SystemClock()
    if instance:
        settings = msgspec.structs.replace(settings, bridge=msgspec.structs.replace(settings.bridge, instance=instance))
    log, progress = service_log("bridge"), BridgeProgress()
    with closing(decoder(form, topic, settings.schemas)) as decode:
        conversion = Conversion(load_mapping(mapping), decode, CardNumbers(settings.cards))
        if until_idle:
            with stopped_by_signals() as stop:
                run_until_idle(
                    settings, topic, conversion, progress=progress, clock=clock, log=log, stop=stop,
                    until_idle_s=until_idle,
                )  # fmt: skip
        else:
            progress = run_service(settings, topic, conversion, clock=clock, log=log)
    counts = dataclasses.asdict(progress)
    if as_json:
        typer.echo(json.dumps(counts))
        return
    typer.echo(
        f"{progress.transactions:,} transactions and {progress.labels:,} labels; {progress.refused:,} dead letters, "
        f"{progress.tombstones:,} tombstones, {progress.left_out:,} left out",
        err=True,
    )
