"""Links of a moment as a folder that never changes, read by its id, which is a hash of its content."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from adapters.files import sync_folder
from features.links import LINK_FEATURES, Links, LinkSettings
from vedette.errors import InputError

LAYOUT = 1
_ACCOUNTS, _EDGES, _DESCRIPTION = "accounts.parquet", "edges.parquet", "links.json"


class LinkSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A saved graph.

    Attributes:
        id: Hash of settings, moment and content; the same payments and settings give the same id.
        as_of: Milliseconds UTC up to which payments and labels count.
        settings: How links were drawn.
        accounts: Number of accounts.
        edges: Number of things shared, by account.
        groups: Number of groups of at least two accounts.
        frauds: Accounts with a confirmed fraud.
        layout: Version of the folder.
    """

    id: str
    as_of: int
    settings: LinkSettings
    accounts: int
    edges: int
    groups: int
    frauds: int
    layout: int = LAYOUT


def save(folder: Path, links: Links, settings: LinkSettings) -> LinkSnapshot:
    """Write the links under `folder`/id, whole or not at all, and return what was written.

    Raises:
        InputError: The folder cannot be written.
    """
    accounts = pa.table(
        {
            "account": links.accounts,
            "group": links.accounts.take(pa.array(links.group)),
            "fraud": pa.array(links.fraud),
            **{name: pa.array(links.features[:, column]) for column, name in enumerate(LINK_FEATURES)},
        }
    )
    _, sizes = np.unique(links.group, return_counts=True)
    snapshot = LinkSnapshot(
        id=_digest(links, settings, accounts),
        as_of=links.as_of,
        settings=settings,
        accounts=len(accounts),
        edges=len(links.edges),
        groups=int((sizes > 1).sum()),
        frauds=int(links.fraud.sum()),
    )
    target = folder / snapshot.id
    if target.exists():
        return snapshot
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=".", dir=folder))
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}", remedy="name another folder") from error
    try:
        pq.write_table(accounts, part / _ACCOUNTS, compression="zstd")
        pq.write_table(links.edges, part / _EDGES, compression="zstd")
        (part / _DESCRIPTION).write_bytes(msgspec.json.encode(snapshot))
        part.chmod(0o755)
        os.replace(part, target)  # noqa: PTH105 - a folder takes the place of none
        sync_folder(folder)
    except OSError as error:
        raise InputError(f"{target} cannot be written: {error.strerror}", remedy="free space, then again") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return snapshot


def _digest(links: Links, settings: LinkSettings, accounts: pa.Table) -> str:
    whole = hashlib.sha256(msgspec.json.encode((LAYOUT, links.as_of, settings)))
    for table in (accounts, links.edges):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table.combine_chunks())
        whole.update(sink.getvalue())
    return whole.hexdigest()[:16]


def snapshots(folder: Path) -> list[LinkSnapshot]:
    """Return the snapshots of a folder, the oldest moment first; none if there is no folder."""
    found = [_described(path) for path in folder.glob(f"*/{_DESCRIPTION}") if not path.parent.name.startswith(".")]
    return sorted(found, key=lambda one: (one.as_of, one.id))


def load(folder: Path, snapshot_id: str = "") -> tuple[LinkSnapshot, Links]:
    """Return a snapshot by its id, or the one of the latest moment.

    Raises:
        InputError: There is none, or it cannot be read.
    """
    if snapshot_id:
        path = folder / snapshot_id / _DESCRIPTION
        if "/" in snapshot_id or not path.exists():
            known = ", ".join(one.id for one in snapshots(folder)) or "none"
            raise InputError(f"{folder} has no links {snapshot_id!r}", remedy=f"it has {known}")
        snapshot = _described(path)
    else:
        every = snapshots(folder)
        if not every:
            raise InputError(f"{folder} has no links", remedy="make some: vedette links build FILE --mapping NAME")
        snapshot = every[-1]
    try:
        accounts = pq.read_table(folder / snapshot.id / _ACCOUNTS).combine_chunks()
        edges = pq.read_table(folder / snapshot.id / _EDGES).combine_chunks()
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"links {snapshot.id} cannot be read: {error}", remedy="build them again") from error
    ids = _chunk(accounts["account"])
    return snapshot, Links(
        as_of=snapshot.as_of,
        accounts=ids,
        features=np.column_stack([accounts[name].to_numpy() for name in LINK_FEATURES]),
        group=pc.index_in(_chunk(accounts["group"]), ids).to_numpy().astype(np.int64),
        fraud=accounts["fraud"].to_numpy().astype(bool),
        edges=edges,
    )


def _chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)


def _described(path: Path) -> LinkSnapshot:
    try:
        snapshot = msgspec.json.decode(path.read_bytes(), type=LinkSnapshot)
    except (OSError, msgspec.MsgspecError) as error:
        raise InputError(f"{path} is not a snapshot of links: {error}", remedy="delete its folder") from error
    if snapshot.layout != LAYOUT:
        raise InputError(f"{path} has layout {snapshot.layout}, this release knows {LAYOUT}", remedy="build it again")
    return snapshot
