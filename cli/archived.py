"""The archive as a source of `whatif`, `train`, `retrain` and `backfill`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from archive.search import Archive
    from streams.history.control_state import ControlState
    from streams.history.feature_log import FeatureLog
    from vedette.events import Label
    from vedette.settings import Settings

ARCHIVE = typer.Option(False, "--archive", help="read the archive instead, as far back as it reaches")
SINCE = typer.Option("", "--from", metavar="DATE", help="with --archive: event time at or after this, UTC")
UNTIL = typer.Option("", "--to", metavar="DATE", help="with --archive: event time before this, UTC")


@dataclass(frozen=True)
class ArchivedPeriod:
    """A period of the archive.

    Args:
        archive: The archive.
        settings: Settings of the deployment.
        since: First event time, milliseconds; None: from the beginning.
        until: Event times before this one; None: to the end.
    """

    archive: "Archive"
    settings: "Settings"
    since: int | None
    until: int | None

    def history(self, extra: "Sequence[str] | None" = None, *, labelled: bool = False) -> "Iterator[pa.RecordBatch]":
        """Yield transactions as streams.history.archived.history does, with all their vendor features by default."""
        from archive.past import Period, extra_names, transactions
        from streams.history.archived import history

        period = Period(self.since, self.until)
        names = extra_names(self.archive, period) if extra is None else extra
        max_future_ms = self.settings.worker.max_future_s * 1000
        yield from history(transactions(self.archive, period), max_future_ms, extra=names, labelled=labelled)

    def control(self) -> "ControlState":
        """Return the models and the policy that were put into force last."""
        from archive.past import control_records
        from streams.history.archived import control_state

        return control_state(control_records(self.archive))

    def feature_log(self) -> "tuple[FeatureLog, dict[str, Label]]":
        """Return the feature log of the catalogue in force, and the labels by transaction."""
        from archive.past import Period, feature_log, labels
        from features.catalogue import catalogue_hash
        from streams.history.archived import feature_log as as_feature_log

        period = Period(self.since, self.until)
        log = as_feature_log(feature_log(self.archive, period, catalogue_hash(self.settings.features.label_delay)))
        return log, {label.transaction_id: label for label in labels(self.archive, period)}


@contextmanager
def archived_period(settings: "Settings", since: int | None, until: int | None) -> Iterator[ArchivedPeriod]:
    """Open a period of the archive for reading within the block.

    Raises:
        UnavailableError: There is no archive, or its storage does not answer.
    """
    from adapters.extras import require_extra

    require_extra("archive", "the archive", "deltalake")
    from archive.search import Archive

    with Archive(settings.archive) as archive:
        yield ArchivedPeriod(archive, settings, since, until)


def moments(since: str, until: str) -> tuple[int | None, int | None]:
    """Return the ends of a period as given on the command line, milliseconds."""
    from vedette.clock import parse_time

    return (parse_time(since) if since else None), (parse_time(until) if until else None)
