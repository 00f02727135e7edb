"""A backfill on a Dask cluster, bit-identical to one in a single process.

The features of an account depend on its payments; those of a merchant, device or address depend on its payments and on
what each was for its account: unusual, or the first there. So the history is partitioned by account first and then,
with those results, by each kind of entity. Each part goes through the kernel in order of event time on some worker. A
join combines the features of each transaction. Payees are one part, since a payment also asks what its own account has
received as a payee.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from distributed import Client, as_completed

from features.activity import unusualness
from features.backfill import ACCOUNT, FLAGS, FROM_ACCOUNT, PAYS, UNUSUAL, Backfill, carried, packed_flags
from features.catalogue import ENTITIES, NAMES
from features.dask_cluster import workers_of
from features.history import BATCH_ROWS, ROW, History, connect
from features.identity import Identity
from features.limits import Allowance

_PARTS_PER_WORKER = 2
_KEYS = {ACCOUNT: "account_id", **ENTITIES}

_PART_OF = {kind: f"part_by_{kind}" for kind in _KEYS}
"""Columns with the part of each kind that a payment belongs to; null where it names no such entity."""

_PAYEE = "payee"


def _kind_of(name: str) -> str:
    """Return the kind of parts from which a feature is computed."""
    if name.startswith("incoming_"):
        return _PAYEE
    return next((kind for kind in ENTITIES if name.startswith(f"{kind}_")), ACCOUNT)


_FEATURES = {kind: tuple(name for name in NAMES if kind == _kind_of(name)) for kind in _KEYS}
"""Features computed from parts of each kind."""


@dataclass(frozen=True)
class _Part:
    """The payments of some accounts, or of some entities of one kind."""

    history: Path
    """Folder of all payments."""
    newest: int
    """Event time of the last payment."""
    kind: str
    number: int
    limits: Sequence[Allowance]
    label_delay: int
    identity: Identity

    def compute(self) -> dict[str, bytes] | dict[int, bytes]:
        """Compute and write the features, and return the final state of these accounts or entities."""
        state, names = Backfill(self.limits, (self.kind,), self.label_delay, self.identity), _FEATURES[self.kind]
        places = [NAMES.index(name) for name in names]
        of_accounts = self.kind == ACCOUNT
        schema = pa.schema([(ROW, pa.int64()), *((name, pa.float64()) for name in names)])
        if of_accounts:
            schema = schema.append(pa.field(UNUSUAL, pa.uint8())).append(pa.field(FLAGS, pa.uint32()))
            schema = schema.append(pa.field(PAYS, pa.bool_()))
        file = self.history.parent / self.kind / f"{self.number}.parquet"
        with connect(self.history.parent) as database, pq.ParquetWriter(file, schema) as writer:
            for batch in self._payments(database).to_arrow_reader(BATCH_ROWS):
                features = state.advance(batch)
                columns = [batch.column(ROW), *map(pa.array, features[:, places].T)]
                if of_accounts:
                    columns += [pa.array(unusualness(features)), pa.array(packed_flags(np.concatenate(state.flags)))]
                    columns.append(pa.array(state.pays))
                writer.write_batch(pa.record_batch(columns, schema=schema))
        state.settle(self.newest)
        return state.accounts if of_accounts else state.entities

    def _payments(self, database: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyRelation:
        part = database.read_parquet(str(self.history)).filter(f"{_PART_OF[self.kind]} = {self.number}")
        if self.kind != ACCOUNT:
            accounts = database.read_parquet(str(self.history.parent / ACCOUNT / "*.parquet"))
            part = part.join(accounts.project(", ".join((ROW, *FROM_ACCOUNT))), ROW)
        return part.order(f"event_time, {ROW}")


def spread(
    history: History, client: Client, scratch: Path, into: Backfill, *, on_part: Callable[[int], None] = lambda _: None
) -> Iterator[pa.RecordBatch]:
    """Compute the features of a whole history on a cluster, with the result of features.backfill.

    Args:
        history: The payments.
        client: Client of the cluster, whose workers must have this version of Vedette.
        scratch: An empty directory that this process and every worker reach under the same path.
        into: An empty state to fill.
        on_part: Called with the number of parts done.
    """
    whole = scratch / "history.parquet"
    parts = _PARTS_PER_WORKER * workers_of(client)
    numbers = [
        f"0 AS {_PART_OF[kind]}"
        if kind == _PAYEE
        else f"if({key} IS NULL, NULL, hash({key}) % {parts}) AS {_PART_OF[kind]}"
        for kind, key in _KEYS.items()
    ]
    with history.reading():
        history.database.view("history").project(", ".join(("*", *numbers))).write_parquet(str(whole))
    with connect(scratch) as database:
        ((newest,),) = database.read_parquet(str(whole)).max("event_time").fetchall()
    done = 0
    for kinds in ((ACCOUNT,), tuple(ENTITIES)):  # accounts first: merchants need their results
        for kind in kinds:
            (scratch / kind).mkdir()
        submitted = {
            client.submit(
                _Part(whole, newest, kind, number, into.limits, into.label_delay, into.identity).compute, pure=False
            ): kind
            for kind in kinds
            for number in range(1 if kind == _PAYEE else parts)
        }
        for future, state in as_completed(submitted, with_results=True):
            (into.accounts if submitted[future] == ACCOUNT else into.entities).update(state)
            on_part(done := done + 1)
    yield from _joined(whole, scratch)


def _joined(whole: Path, scratch: Path) -> Iterator[pa.RecordBatch]:
    """Yield each transaction with its features of every kind; NaN where it has no such entity."""
    with connect(scratch) as database:
        joined = database.read_parquet(str(whole))
        names = [f'"{name}"' for name in carried(joined.columns)]
        for kind in _KEYS:
            joined = joined.join(database.read_parquet(str(scratch / kind / "*.parquet")), ROW, "left")
        features = [f"coalesce({name}, 'nan'::DOUBLE) AS {name}" for name in NAMES]
        joined = joined.filter(PAYS)
        yield from joined.order(f"event_time, {ROW}").project(", ".join(names + features)).to_arrow_reader(BATCH_ROWS)
