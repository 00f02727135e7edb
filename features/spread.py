"""A backfill over a Dask cluster, with the same bits as one on its own.

What an account's features need are the payments of that account; what those of a merchant, device or address need are
its payments, and how unusual each was for its account. So the history is parted by account first, and then, with what
came of that, by each kind of entity; each part goes through the kernel in order of event time on some worker. A join
puts the features of a transaction beside one another.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from distributed import Client, as_completed

from features.activity import unusualness
from features.backfill import ACCOUNT, UNUSUAL, Backfill, carried
from features.catalogue import ENTITIES, NAMES
from features.cluster import workers_of
from features.history import BATCH_ROWS, ROW, History, connect
from features.limits import Allowance

_PARTS_PER_WORKER = 2
_KEYS = {ACCOUNT: "account_id", **ENTITIES}

_PART_OF = {kind: f"part_by_{kind}" for kind in _KEYS}
"""Columns that say in which part of each kind a payment is; null where it names no such entity."""

_FEATURES = {
    kind: tuple(name for name in NAMES if kind == next((e for e in ENTITIES if name.startswith(f"{e}_")), ACCOUNT))
    for kind in _KEYS
}
"""The features that come of parts by this kind."""


@dataclass(frozen=True)
class _Part:
    """The payments of some accounts, or of some entities of one kind."""

    history: Path
    """All payments."""
    newest: int
    """When the last of them happened."""
    kind: str
    number: int
    limits: Sequence[Allowance]

    def compute(self) -> dict[str, bytes] | dict[int, bytes]:
        """Compute and write the features; the state of these accounts or entities at the end."""
        state, names = Backfill(self.limits, (self.kind,)), _FEATURES[self.kind]
        places = [NAMES.index(name) for name in names]
        of_accounts = self.kind == ACCOUNT
        schema = pa.schema([(ROW, pa.int64()), *((name, pa.float64()) for name in names)])
        schema = schema.append(pa.field(UNUSUAL, pa.uint8())) if of_accounts else schema
        file = self.history.parent / self.kind / f"{self.number}.parquet"
        with connect(self.history.parent) as database, pq.ParquetWriter(file, schema) as writer:
            for batch in self._payments(database).to_arrow_reader(BATCH_ROWS):
                features = state.advance(batch)
                columns = [batch.column(ROW), *map(pa.array, features[:, places].T)]
                columns += [pa.array(unusualness(features))] if of_accounts else []
                writer.write_batch(pa.record_batch(columns, schema=schema))
        state.settle(self.newest)
        return state.accounts if of_accounts else state.entities

    def _payments(self, database: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyRelation:
        mine = database.read_parquet(str(self.history)).filter(f"{_PART_OF[self.kind]} = {self.number}")
        if self.kind != ACCOUNT:
            accounts = database.read_parquet(str(self.history.parent / ACCOUNT / "*.parquet"))
            mine = mine.join(accounts.project(f"{ROW}, {UNUSUAL}"), ROW)
        return mine.order(f"event_time, {ROW}")


def spread(
    history: History, client: Client, scratch: Path, into: Backfill, *, on_part: Callable[[int], None] = lambda _: None
) -> Iterator[pa.RecordBatch]:
    """Features of a whole history, computed on a cluster; as features.backfill gives them.

    Args:
        history: What to compute them of.
        client: Of the cluster. Each of its workers must have this version of Vedette.
        scratch: An empty directory that this process and every worker reach under this name.
        into: A state that has seen nothing, to be filled.
        on_part: Told how many parts are done.
    """
    whole = scratch / "history.parquet"
    parts = _PARTS_PER_WORKER * workers_of(client)
    numbers = [f"if({key} IS NULL, NULL, hash({key}) % {parts}) AS {_PART_OF[kind]}" for kind, key in _KEYS.items()]
    with history.reading():
        history.database.view("history").project(", ".join(("*", *numbers))).write_parquet(str(whole))
    with connect(scratch) as database:
        ((newest,),) = database.read_parquet(str(whole)).max("event_time").fetchall()
    done = 0
    for kinds in ((ACCOUNT,), tuple(ENTITIES)):  # accounts first: merchants need what comes of them
        for kind in kinds:
            (scratch / kind).mkdir()
        submitted = {
            client.submit(_Part(whole, newest, kind, number, into.limits).compute, pure=False): kind
            for kind in kinds
            for number in range(parts)
        }
        for future, state in as_completed(submitted, with_results=True):
            (into.accounts if submitted[future] == ACCOUNT else into.entities).update(state)
            on_part(done := done + 1)
    yield from _joined(whole, scratch)


def _joined(whole: Path, scratch: Path) -> Iterator[pa.RecordBatch]:
    """Each transaction with its features of every kind; NaN where it has no such entity."""
    with connect(scratch) as database:
        joined = database.read_parquet(str(whole))
        names = [f'"{name}"' for name in carried(joined.columns)]
        for kind in _KEYS:
            joined = joined.join(database.read_parquet(str(scratch / kind / "*.parquet")), ROW, "left")
        features = [f"coalesce({name}, 'nan'::DOUBLE) AS {name}" for name in NAMES]
        yield from joined.order(f"event_time, {ROW}").project(", ".join(names + features)).to_arrow_reader(BATCH_ROWS)
