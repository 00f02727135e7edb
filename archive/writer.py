"""Writing of a topic to its Delta table: each message exactly once, even if the writer is killed.

A commit carries the next offset of every partition as a Delta transaction identifier, so rows and positions become
visible together or not at all (https://github.com/delta-io/delta/blob/master/PROTOCOL.md#transaction-identifiers).
"""

from collections.abc import Mapping

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from archive.columns import DAY, SCHEMA_VERSION, Table
from vedette.errors import FencedError, StateError, UnavailableError

_VERSION = "vedette.schemaVersion"
_COMPRESSION = WriterProperties(compression="ZSTD", max_row_group_size=131_072)


class TableWriter:
    """Appends rows to one table; the only writer of that table.

    Args:
        uri: Location of the table.
        table: Its columns.
        topic: The topic with its prefix, under which positions are stored.
        storage_options: Options of the library `deltalake` for object stores.

    Raises:
        StateError: The table was written by a newer Vedette.
        UnavailableError: The storage cannot be reached.
    """

    def __init__(self, uri: str, table: Table, topic: str, storage_options: Mapping[str, str]) -> None:
        self._uri = uri
        self._topic = topic
        self._options = dict(storage_options)
        try:
            self._delta = DeltaTable.create(
                uri,
                table.schema,
                mode="ignore",
                partition_by=[DAY],
                name=table.topic,
                configuration={_VERSION: str(SCHEMA_VERSION)},
                storage_options=self._options,
                raise_if_key_not_exists=False,
            )
        except (DeltaError, OSError) as error:
            raise UnavailableError(f"archive {uri}: {error}", remedy="[archive] says where it is") from error
        found = int(self._delta.metadata().configuration.get(_VERSION) or SCHEMA_VERSION)
        if found > SCHEMA_VERSION:
            raise StateError(
                f"archive {uri} has schema version {found}, this Vedette writes {SCHEMA_VERSION}",
                remedy="use the Vedette that wrote it, or a newer one",
            )

    def position(self, partition: int) -> int | None:
        """Return the next offset of a partition, or None if nothing of it is archived yet."""
        return self._delta.transaction_version(application(self._topic, partition))

    def append(self, rows: pa.Table, positions: Mapping[int, int]) -> None:
        """Append rows and move the positions in one step.

        Args:
            rows: In the table's columns; may be empty, if only positions move.
            positions: The next offset to archive by partition.

        Raises:
            FencedError: Another process has written these partitions meanwhile.
            UnavailableError: The storage does not accept the rows.
        """
        properties = CommitProperties(
            app_transactions=[
                Transaction(application(self._topic, number), offset) for number, offset in positions.items()
            ]
        )
        try:
            write_deltalake(
                self._delta,
                rows,
                mode="append",
                partition_by=[DAY],
                schema_mode="merge",
                writer_properties=_COMPRESSION,
                commit_properties=properties,
                storage_options=self._options or None,
            )
        except CommitFailedError as error:
            raise FencedError(f"archive {self._uri} has another writer: {error}") from error
        except (DeltaError, OSError) as error:
            raise UnavailableError(f"archive {self._uri} cannot be written: {error}") from error
        self._delta.update_incremental()


def application(topic: str, partition: int) -> str:
    """Return the name under which a table has the position of a partition; the topic is named with its prefix."""
    return f"{topic}:{partition}"
