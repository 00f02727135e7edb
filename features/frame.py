"""The training frame as a Parquet file: one row per transaction in order of event time, features as float64."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from features.catalogue import catalogue_hash
from vedette.files import whole_file

HASH = b"features_hash"
"""Key of the file's metadata: the hash of the catalogue whose features it has."""


def write_frame(path: Path, batches: Iterable[pa.RecordBatch]) -> int:
    """Write what features.backfill gives, see vedette.files; how many rows it has.

    Raises:
        InputError: The file cannot be written.
    """
    writer: pq.ParquetWriter | None = None
    rows = 0
    with whole_file(path) as part:
        for batch in batches:
            if writer is None:
                schema = batch.schema.with_metadata({HASH: catalogue_hash().encode()})
                writer = pq.ParquetWriter(part, schema, compression="zstd", use_dictionary=["account_id"])
            writer.write_batch(batch)
            rows += len(batch)
        if writer:
            writer.close()
    return rows
