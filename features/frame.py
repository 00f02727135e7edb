"""The training frame as a Parquet file: one row per transaction in order of event time, features as float64."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from adapters.files import output_file
from features.catalogue import LABEL_DELAY, catalogue_hash

HASH = b"features_hash"
"""Metadata key of the hash of the catalogue whose features the file has."""


def write_frame(path: Path, batches: Iterable[pa.RecordBatch], label_delay: int = LABEL_DELAY) -> int:
    """Write the batches of features.backfill (see adapters.files), and return the number of rows.

    Raises:
        InputError: The file cannot be written.
    """
    writer: pq.ParquetWriter | None = None
    rows = 0
    with output_file(path, "the training frame") as part:
        for batch in batches:
            if writer is None:
                schema = batch.schema.with_metadata({HASH: catalogue_hash(label_delay).encode()})
                writer = pq.ParquetWriter(part, schema, compression="zstd", use_dictionary=["account_id"])
            writer.write_batch(batch)
            rows += len(batch)
        if writer:
            writer.close()
    return rows
