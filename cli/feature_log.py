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

    from streams.history.feature_log import read_recent
    from vedette.clock import SystemClock

    with Console(stderr=True).status("reading the feature log"):
        return read_recent(settings_of(ctx), days, SystemClock().now_ms())
