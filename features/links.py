"""Groups of accounts that share devices, payees and addresses: a graph as of a moment, off the hot path.

Accounts and what they share are the vertices. A payee that is itself an account is that account, so a transfer links
two accounts directly. What more accounts share than `hub` links nobody: a carrier's address or a utility says nothing.
"""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import igraph
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from features.columns import column
from vedette.clock import DAY
from vedette.errors import InputError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

FIELDS: Mapping[str, str] = {"device": "device_id", "payee": "payee", "ip": "ip_address"}
"""Kinds of links, and the field of Transaction that names what is shared."""

LINK_FEATURES = ("links_group_size", "links_fraud_share", "links_growth", "links_fraud_hops")
"""Number of accounts in the account's group; share of confirmed frauds among the others; share of its accounts that
joined in the last `growth_days`; accounts to go to the nearest other one with a confirmed fraud, NaN beyond MOST_HOPS.
"""

MOST_HOPS = 4

_BACK = ("refund", "reversal")
_PARTS = 16
"""Batches of a day that are kept apart before they are merged."""

_EDGE = ["account", "name", "kind"]
_ITSELF = "account"
"""Kind of the row that keeps an account which shares nothing."""


class LinkSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How links are drawn.

    Attributes:
        days: Days of payments before the moment.
        growth_days: Days within which an account counts as having joined its group.
        device: Weight of a shared device; 0 leaves the kind out.
        payee: Weight of a shared payee.
        ip: Weight of a shared address.
        hub: Largest number of accounts that something may have in common and still link them.
        seed: Seed of the search for groups.
    """

    days: int = 30
    growth_days: int = 7
    device: float = 1.0
    payee: float = 0.5
    ip: float = 0.3
    hub: int = 30
    seed: int = 0


@dataclass(frozen=True)
class Links:
    """The graph of a moment, and what follows from it for each account.

    Attributes:
        as_of: The moment, milliseconds UTC; payments and labels up to then count.
        accounts: Ids, sorted.
        features: float64[accounts, LINK_FEATURES].
        group: int64[accounts], index of the first account of each account's group.
        fraud: bool[accounts], whether a fraud on the account was confirmed within the days of the links.
        edges: Columns account, name, kind (text), first, last (milliseconds) and payments, of what links accounts.
    """

    as_of: int
    accounts: pa.Array
    features: Floats
    group: Ints
    fraud: NDArray[np.bool_]
    edges: pa.Table


class LinkHistory:
    """What accounts shared with others, gathered batch by batch.

    Days are whole ones in UTC: a moment is exact if only payments up to it have been added.
    """

    def __init__(self, settings: LinkSettings) -> None:
        self.settings = settings
        self._days: dict[int, list[pa.Table]] = {}
        self._frauds: list[tuple[int | None, str]] = []
        """Time a fraud became known, and the account."""

    def add(self, batch: pa.RecordBatch) -> None:
        """Take the payments of a batch with the columns of Transaction, and their labels if it has `fraud`.

        What gives money back links nobody.
        """
        kind = column(batch, "kind")
        if kind.null_count < len(batch):
            back = pc.is_in(kind.cast(pa.string()), pa.array(_BACK))
            batch = batch.filter(pc.invert(back))
        day = pc.divide(batch.column("event_time"), DAY)
        for number in pc.unique(day).to_pylist():
            parts = self._days.setdefault(number, [])
            parts.append(_edges(batch.filter(pc.equal(day, number))))
            if len(parts) > _PARTS:
                parts[:] = [_merged(parts)]
        if batch.schema.get_field_index("fraud") >= 0:
            found = batch.filter(batch.column("fraud").fill_null(False))
            known = column(found, "labelled_at")
            times = found.column("event_time") if known.null_count == len(found) else known
            self._frauds += zip(times.to_pylist(), found.column("account_id").to_pylist(), strict=True)

    def links(self, as_of: int) -> Links:
        """Return the links of a moment; whole UTC days that are older than `days` are forgotten for good."""
        since = as_of - self.settings.days * DAY
        for day in [day for day in self._days if (day + 1) * DAY <= since]:
            del self._days[day]
        tables = [
            table.filter(pc.and_(pc.greater(table["last"], since), pc.less_equal(table["first"], as_of)))
            for day, tables in self._days.items()
            if day <= as_of // DAY
            for table in tables
        ]
        frauds = {account for known, account in self._frauds if known is not None and since < known <= as_of}
        return build(tables, frauds, as_of, self.settings)


def collect(batches: Iterable[pa.RecordBatch], as_of: int | None, settings: LinkSettings) -> Links:
    """Return the links of a moment, of the last payment by default, from payments in any order.

    Raises:
        InputError: There are no payments.
    """
    history, newest = LinkHistory(settings), 0
    for batch in batches:
        history.add(batch if as_of is None else batch.filter(pc.less_equal(batch.column("event_time"), as_of)))
        newest = max(newest, pc.max(batch.column("event_time")).as_py() or 0)
    if not newest:
        raise InputError("there are no payments to link", remedy="check the file and its mapping")
    return history.links(newest if as_of is None else as_of)


def _edges(batch: pa.RecordBatch) -> pa.Table:
    """Return what each account of a batch used: account, name, kind, first, last, payments."""
    parts = []
    for kind, field in {_ITSELF: "account_id", **FIELDS}.items():
        names = column(batch, field)
        part = pa.table(
            {
                "account": batch.column("account_id").cast(pa.string()),
                "name": names.cast(pa.string()),
                "kind": pa.repeat(kind, len(batch)),
                "first": batch.column("event_time"),
                "last": batch.column("event_time"),
                "payments": pa.repeat(1, len(batch)),
            }
        )
        parts.append(part.filter(names.is_valid()))
    return _merged(parts)


def _merged(parts: list[pa.Table]) -> pa.Table:
    whole = pa.concat_tables(parts)
    merged = whole.group_by(_EDGE).aggregate([("first", "min"), ("last", "max"), ("payments", "sum")])
    names = {"first_min": "first", "last_max": "last", "payments_sum": "payments"}
    return merged.rename_columns([names.get(name, name) for name in merged.column_names])


def build(tables: list[pa.Table], frauds: set[str], as_of: int, settings: LinkSettings) -> Links:
    """Return the links of a moment.

    Args:
        tables: What accounts used, as of `_edges`.
        frauds: Accounts with a confirmed fraud.
        as_of: The moment.
        settings: How links are drawn.
    """
    empty = pa.table({"account": pa.array([], pa.string()), "name": pa.array([], pa.string()),
                      "kind": pa.array([], pa.string()), "first": pa.array([], pa.int64()),
                      "last": pa.array([], pa.int64()), "payments": pa.array([], pa.int64())})  # fmt: skip
    edges = _merged([empty, *tables]).sort_by([(name, "ascending") for name in _EDGE]).combine_chunks()
    accounts = pc.unique(edges["account"])
    payer = pc.index_in(edges["account"], accounts).to_numpy().astype(np.int64)
    shared, which = np.unique(
        np.char.add(np.char.add(edges["kind"].to_numpy().astype(str), "\n"), edges["name"].to_numpy().astype(str)),
        return_inverse=True,
    )
    direct = pc.and_(pc.equal(edges["kind"], "payee"), pc.is_in(edges["name"], accounts)).to_numpy().astype(bool)
    payee = pc.index_in(edges["name"], accounts).fill_null(0).to_numpy().astype(np.int64)
    common = np.bincount(which, minlength=len(shared))[which]
    weight = np.array([getattr(settings, kind, 0.0) for kind in edges["kind"].to_pylist()], np.float64)
    alone = np.where(direct, payee == payer, common < 2)
    keep = (common <= settings.hub) & (weight > 0) & ~alone
    n = len(accounts)
    head, tail = payer[keep], np.where(direct, payee, n + which)[keep]
    weight = weight[keep] / np.log2(np.maximum(common[keep], 2))
    steps = np.where(direct[keep], 1.0, 0.5)
    fraud = pc.is_in(accounts, pa.array(sorted(frauds), pa.string())).to_numpy(zero_copy_only=False).astype(bool)
    joined = np.full(n, np.iinfo(np.int64).max)
    first = edges["first"].to_numpy()[keep]
    np.minimum.at(joined, head, first)
    np.minimum.at(joined, tail[direct[keep]], first[direct[keep]])
    group = _groups(n, n + len(shared), head, tail, weight, settings.seed)
    features = np.column_stack(
        [
            *_of_groups(group, fraud, joined > as_of - settings.growth_days * DAY, joined < np.iinfo(np.int64).max),
            _hops(n, n + len(shared), head, tail, steps, fraud),
        ]
    )
    return Links(as_of, accounts, features, group, fraud, edges.filter(pa.array(keep)))


def _groups(n: int, vertices: int, head: Ints, tail: Ints, weight: Floats, seed: int) -> Ints:
    """Return the group of each account: Leiden's communities (Traag et al. 2019) of the largest modularity found."""
    graph = igraph.Graph(n=vertices, edges=np.column_stack([head, tail]), directed=False)
    igraph.set_random_number_generator(random.Random(seed))  # noqa: S311 - repeatable, not secret
    try:
        found = graph.community_leiden(objective_function="modularity", weights=weight.tolist(), n_iterations=5)
    finally:
        igraph.set_random_number_generator(random)
    member = np.array(found.membership, np.int64)[:n]
    _, first, group = np.unique(member, return_index=True, return_inverse=True)
    of: Ints = first[group] if n else member
    return of


def _of_groups(
    group: Ints, fraud: NDArray[np.bool_], recent: NDArray[np.bool_], linked: NDArray[np.bool_]
) -> list[Floats]:
    n = len(group)
    size = np.bincount(group, minlength=n)[group].astype(np.float64)
    frauds = np.bincount(group, fraud, minlength=n)[group] - fraud
    share = np.divide(frauds, size - 1, out=np.zeros(n), where=size > 1)
    growth = np.bincount(group, recent & linked, minlength=n)[group] / np.maximum(size, 1)
    return [size, share, growth]


def _hops(n: int, vertices: int, head: Ints, tail: Ints, steps: Floats, fraud: NDArray[np.bool_]) -> Floats:
    """Return the number of accounts from each account to the nearest other one with a confirmed fraud, NaN if far."""
    sources = np.flatnonzero(fraud)
    if not len(sources) or not len(head):
        return np.full(n, np.nan)
    # Two payments between a pair would be added up by the sparse matrix.
    pair, first = np.unique(np.minimum(head, tail) * vertices + np.maximum(head, tail), return_index=True)
    graph = csr_array((steps[first], (pair // vertices, pair % vertices)), shape=(vertices, vertices))
    far, _, nearest = dijkstra(
        graph, directed=False, indices=sources, min_only=True, return_predecessors=True, limit=MOST_HOPS
    )
    hops = far[:n].copy()
    # A source's nearest other source lies across the border between the vertices nearest to each.
    one, two = nearest[head], nearest[tail]
    border = (one != two) & (one >= 0) & (two >= 0)
    across = far[head] + far[tail] + steps
    hops[sources] = np.inf
    np.minimum.at(hops, one[border], across[border])
    np.minimum.at(hops, two[border], across[border])
    return np.where(hops <= MOST_HOPS, hops, np.nan)


def features_of(links: Links, account_id: pa.Array) -> Floats:
    """Return the link features of accounts, float64[n, LINK_FEATURES]; NaN for accounts without any."""
    at = pc.index_in(account_id.cast(pa.string()), links.accounts)
    rows = at.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    if not len(links.features):
        return np.full((len(rows), len(LINK_FEATURES)), np.nan)
    return np.where((rows >= 0)[:, None], links.features[rows], np.nan)
