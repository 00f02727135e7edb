"""Features: the catalogue, one kernel for online and offline, state codec, store and backfill.

The entry points: `features.catalogue.NAMES`, `features.backfill.backfill`, `features.store.RedisStore`. Nothing is
imported here, so that a command that only reads the catalogue does not wait for the compiler of the kernels.
"""
