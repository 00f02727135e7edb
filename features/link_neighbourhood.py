"""The neighbourhood of an account: what it shares with whom."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.links import LINK_FEATURES, Links
from vedette.errors import InputError

SHOWN = 200
"""Accounts that a neighbourhood lists at most, the nearest first."""


def neighbourhood(links: Links, account: str, hops: int = 1) -> dict[str, Any]:
    """Return an account's group, features and neighbours, for people and pages.

    Args:
        links: A snapshot.
        account: Id of the account.
        hops: Number of accounts to go.

    Returns:
        `account`, `group` (id of the group's first account), `members`, `fraud`, the LINK_FEATURES (None if missing),
        `neighbours` (account, hops, group, fraud) and `links` (account, kind, name, first, last, payments), sorted;
        `left_out` says how many neighbours are not listed.

    Raises:
        InputError: The snapshot has no such account.
    """
    at = pc.index_in(pa.scalar(account), links.accounts).as_py()
    if at is None:
        raise InputError(f"the links have no account {account!r}", remedy="build links of payments that name it")
    near: dict[str, int] = {account: 0}
    for step in range(1, hops + 1):
        frontier = pa.array(sorted(name for name, far in near.items() if far == step - 1), pa.string())
        used = links.edges.filter(pc.is_in(links.edges["account"], frontier))
        reached: set[str] = set()
        for kind in pc.unique(used["kind"]).to_pylist():
            names = used.filter(pc.equal(used["kind"], kind))["name"].combine_chunks()
            same = links.edges.filter(
                pc.and_(pc.equal(links.edges["kind"], kind), pc.is_in(links.edges["name"], names))
            )
            reached.update(same["account"].to_pylist())
            if kind == "payee":
                reached.update(pc.unique(names.filter(pc.is_in(names, links.accounts))).to_pylist())
        paid = pc.and_(pc.equal(links.edges["kind"], "payee"), pc.is_in(links.edges["name"], frontier))
        reached.update(links.edges.filter(paid)["account"].to_pylist())
        for name in reached:
            near.setdefault(name, step)
    others = sorted(((far, name) for name, far in near.items() if far), key=lambda one: (one[0], one[1]))
    listed = others[:SHOWN]
    shown = pa.array([account, *(name for _, name in listed)], pa.string())
    edges = links.edges.filter(pc.is_in(links.edges["account"], shown))
    values = links.features[at]
    return {
        "account": account,
        "group": links.accounts[int(links.group[at])].as_py(),
        "members": int((links.group == links.group[at]).sum()),
        "fraud": bool(links.fraud[at]),
        **{name: None if np.isnan(value) else float(value) for name, value in zip(LINK_FEATURES, values, strict=True)},
        "neighbours": [
            {"account": name, "hops": far, **_of(links, name)} for far, name in listed
        ],
        "left_out": len(others) - len(listed),
        "links": edges.to_pylist(),
    }  # fmt: skip


def _of(links: Links, account: str) -> dict[str, Any]:
    at = pc.index_in(pa.scalar(account), links.accounts).as_py()
    return {"group": links.accounts[int(links.group[at])].as_py(), "fraud": bool(links.fraud[at])}
