"""Maintenance of the archive: merging of small files, and deletion of old events."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa
from deltalake import BloomFilterProperties, ColumnProperties, DeltaTable, WriterProperties

from archive.columns import DAY
from archive.service import open_table
from archive.tables import TABLES
from vedette.clock import Clock
from vedette.settings import ArchiveSettings

_ROW_GROUP = 8_192
"""Rows that are read or skipped together: an account's payments of a day are in one group, sorted by account."""
_BLOOM = ColumnProperties(bloom_filter_properties=BloomFilterProperties(True, fpp=0.01, ndv=_ROW_GROUP))
_LAYOUT = WriterProperties(
    compression="ZSTD",
    max_row_group_size=_ROW_GROUP,
    column_properties={"transaction_id": _BLOOM, "account_id": _BLOOM},  # DuckDB skips groups by it
)
_DAYS_AT_ONCE = 30
_KEPT_H = 24
"""Hours for which unneeded files of a table are kept, for readers that still use them."""


@dataclass(frozen=True)
class Compacted:
    """Result of compacting one table.

    Attributes:
        table: Its name.
        before: Its files before.
        after: Its files after.
        expired: Rows deleted because they are older than the retention.
    """

    table: str
    before: int
    after: int
    expired: int


def compact(settings: ArchiveSettings, clock: Clock, *, kept_h: int = _KEPT_H) -> list[Compacted]:
    """Merge the files of each day, sorted by account, delete expired days, and remove unneeded files.

    Safe while the archive is being written and read. A day that is one file already is left alone.

    Args:
        settings: Location and retention of the archive.
        clock: Clock for the expiry.
        kept_h: Hours for which unneeded files are kept; at least the duration of the longest query.

    Raises:
        UnavailableError: There is no archive, or its storage does not answer.
    """
    done = []
    for table in TABLES:
        delta = open_table(settings, table)
        before = len(delta.file_uris())
        expired = 0
        if settings.retention_days and table.expires:
            oldest = datetime.fromtimestamp(clock.now_ms() / 1000, UTC).date() - timedelta(days=settings.retention_days)
            expired = int(delta.delete(f"{DAY} < '{oldest.isoformat()}'")["num_deleted_rows"] or 0)
        days = _scattered(delta)
        for first in range(0, len(days), _DAYS_AT_ONCE):
            some = days[first : first + _DAYS_AT_ONCE]
            delta.optimize.z_order(["account_id"], [(DAY, "in", some)], writer_properties=_LAYOUT)
        delta.vacuum(kept_h, dry_run=False, enforce_retention_duration=False, full=True)
        delta.create_checkpoint()
        done.append(Compacted(table.topic, before, len(delta.file_uris()), expired))
    return done


def _scattered(delta: DeltaTable) -> list[str]:
    """Return the days that have more than one file."""
    files = pa.table(delta.get_add_actions(flatten=True))
    days = Counter(str(day) for day in files[f"partition.{DAY}"].to_pylist())
    return sorted(day for day, count in days.items() if count > 1)
