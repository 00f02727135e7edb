"""Features: the catalogue, the one kernel for online and offline, state codec, store and backfill."""

from features.backfill import Backfill, backfill
from features.catalogue import CATALOGUE, NAMES, catalogue_hash
from features.columns import Columns, from_batch
from features.store import RedisStore, StateStore

__all__ = [
    "CATALOGUE",
    "NAMES",
    "Backfill",
    "Columns",
    "RedisStore",
    "StateStore",
    "backfill",
    "catalogue_hash",
    "from_batch",
]
