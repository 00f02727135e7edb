"""`vedette topics`: compare the topics on the broker with the configuration, and create or change them."""

from typing import TYPE_CHECKING

import typer

from cli.context import settings_of

if TYPE_CHECKING:
    from stack.topics import Change

_JSON = typer.Option(False, "--json", help="print JSON")


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    group = typer.Typer(no_args_is_help=True, help="The topics on the broker.")
    group.command()(apply)
    group.command()(diff)
    group.command()(copy)
    app.add_typer(group, name="topics")


def apply(
    ctx: typer.Context,
    dry_run: bool = typer.Option(False, "--dry-run", help="print the differences and change nothing"),
    as_json: bool = _JSON,
) -> None:
    """Create missing topics and set differing configurations; exit code 1 if a difference remains."""
    from stack import topics

    settings = settings_of(ctx)
    changes = topics.diff(settings) if dry_run else topics.apply(settings)
    _show(changes, as_json=as_json)
    raise typer.Exit(1 if any(change.note for change in changes) else 0)


def diff(ctx: typer.Context, as_json: bool = _JSON) -> None:
    """Compare the broker's topics with the configuration; exit code 1 if they differ."""
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
        typer.echo("all topics are as configured")


def copy(
    ctx: typer.Context,
    to: str = typer.Option(..., "--to", metavar="PREFIX", help="[topics] prefix of the copy"),
    partitions: int = typer.Option(
        0, "--partitions", metavar="N", min=0, max=1024, help="number of partitions of the copy (default: the same)"
    ),
    follow: bool = typer.Option(False, "--follow", help="continue with messages published later, until Ctrl-C"),
    as_json: bool = _JSON,
) -> None:
    """Copy payments and labels to new topics, each message once, keyed by account: new partitions, or a repair.

    It repairs topics whose producers used another key or partitioner, and it is the way to a different number of
    partitions. After an interruption it resumes where it ended. Then set [topics] prefix and partitions, [redis] prefix
    and [worker] group to new values, and start the workers: they rebuild their state from the copied payments.
    """
    import json

    import msgspec

    from cli.progress import bars
    from cli.signals import stopped_by_signals
    from stack.topic_copy import copy as copy_topics

    settings = settings_of(ctx)
    topics = msgspec.structs.replace(settings.topics, prefix=to, partitions=partitions or settings.topics.partitions)
    with stopped_by_signals() as stopping, bars() as bar:
        copied = copy_topics(
            settings, msgspec.structs.replace(settings, topics=topics), follow=follow, stopping=stopping,
            on_progress=bar("messages", None),
        )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(copied))
        return
    for topic, count in copied.items():
        typer.echo(f"{settings.topics.prefix}{topic} to {to}{topic}: {count:,} messages")
