"""Reading of the feature log and the labels, for `drift`, `retrain` and `models trial report`."""

from typing import TYPE_CHECKING

import typer

from cli.context import settings_of

if TYPE_CHECKING:
    from streams.history.feature_log import FeatureLog
    from vedette.events import Label

DAYS = typer.Option(30.0, "--days", min=0.01, help="days of the feature log to read, by time of arrival")
JSON = typer.Option(False, "--json", help="print JSON")


def read_feature_log(ctx: typer.Context, days: float) -> "tuple[FeatureLog, dict[str, Label]]":
    """Read the payments that arrived in the last days, and all labels by transaction."""
    from rich.console import Console

    from streams.history.feature_log import read_labels, read_log
    from vedette.clock import DAY, SystemClock

    settings = settings_of(ctx)
    with Console(stderr=True).status("reading the feature log"):
        return read_log(settings, max(SystemClock().now_ms() - round(days * DAY), 0)), read_labels(settings)
