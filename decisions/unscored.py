"""Transactions that are approved without a score: money that comes back or comes in."""

from collections.abc import Collection
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from decisions.encoding import encode_approvals
from decisions.strategy import Strategy
from vedette.events import PAYING


def approve_unscored(batch: pa.RecordBatch, strategy: Strategy, *, degraded: bool) -> list[bytes]:
    """Return an approval for each of n transactions as JSON; it names the policy, and no model."""
    versions: dict[str, Any] = strategy.versions | {"model": ""}
    n = len(batch)
    return encode_approvals(batch, np.zeros(n), np.zeros(n, np.int64), versions, degraded=degraded)


def scored_rows(
    batch: pa.RecordBatch, scored_kinds: Collection[str], pays: NDArray[np.bool_] | None
) -> NDArray[np.bool_]:
    """Return which of n transactions a model scores, bool[n].

    Args:
        batch: The transactions, columns as the fields of Transaction.
        scored_kinds: Kinds that the policy wants scored in addition to payments.
        pays: bool[n], which of them are payments according to their accounts; None: it is not known, so a completion
            that names an authorisation is taken not to be one.
    """
    kind, original_id = batch.column("kind"), batch.column("original_id")
    if kind.null_count == len(kind):
        return np.ones(len(kind), np.bool_)
    wanted = pc.is_in(kind, pa.array(list(scored_kinds), pa.string())).to_numpy(zero_copy_only=False)
    if pays is None:
        paying = pc.is_in(kind.fill_null(PAYING[0]), pa.array(PAYING)).to_numpy(zero_copy_only=False)
        completes = pc.equal(kind, "completion").fill_null(False).to_numpy(zero_copy_only=False)
        pays = paying & ~(completes & original_id.is_valid().to_numpy(zero_copy_only=False))
    scored: NDArray[np.bool_] = wanted | pays
    return scored
