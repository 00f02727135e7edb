"""The transactions of a batch with their features, and their feature log once they are decided."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from decisions.rollout import BatchDecision, Rollout
from features.catalogue import SETTLED, catalogue_hash
from features.columns import Columns
from features.engine import Advanced
from features.signals import signals_column
from streams.arrow import SIGNALS_COLUMN, feature_batch
from streams.decode import Transactions
from vedette.clock import DAY
from vedette.events import EXTRA

_CARRIED = ("transaction_id", "account_id", "event_time", "amount", "currency")


@dataclass(frozen=True)
class ScoredPayments:
    """n transactions of a batch with what a model reads, in order of arrival."""

    batch: pa.RecordBatch
    features: NDArray[np.float64]
    signals: NDArray[np.int64]
    """int64[n, SIGNALS], their live signals."""
    extra: list[dict[str, float]]


@dataclass(frozen=True)
class Payments:
    """n transactions of a batch, in order of arrival."""

    batch: pa.RecordBatch
    columns: Columns
    features: NDArray[np.float64]
    pays: NDArray[np.bool_]
    """bool[n], whether each is a payment, and so activity of its merchant, device and address."""
    new: NDArray[np.uint8]
    """uint8[n], identifiers that are new to the account, see features.kernel_account.advance_accounts."""
    signals: NDArray[np.int64]
    """int64[n, SIGNALS], the live signals that the decisions saw."""
    extra: list[dict[str, float]]
    partition: NDArray[np.int32]
    offset: NDArray[np.int64]
    produced_at: NDArray[np.int64]
    """int64[n], time of production, milliseconds."""

    def scored(self, which: NDArray[np.intp]) -> "ScoredPayments":
        """Return those transactions that a model scores."""
        if len(which) == len(self.batch):
            return ScoredPayments(self.batch, self.features, self.signals, self.extra)
        extra = [self.extra[row] for row in which.tolist()]
        return ScoredPayments(self.batch.take(pa.array(which)), self.features[which], self.signals[which], extra)

    def rows(self, which: NDArray[np.intp]) -> "Payments":
        """Return some of the transactions."""
        return Payments(
            self.batch.take(pa.array(which)),
            self.columns.rows(which),
            self.features[which],
            self.pays[which],
            self.new[which],
            self.signals[which],
            [self.extra[row] for row in which.tolist()],
            self.partition[which],
            self.offset[which],
            self.produced_at[which],
        )


def payments_of(
    decoded: Transactions, columns: Columns, advanced: Advanced, signals: NDArray[np.int64],
    partition: NDArray[np.int32],
) -> Payments:  # fmt: skip
    """Return the transactions of a batch.

    Args:
        decoded: n transactions.
        columns: The same transactions as input of the kernels.
        advanced: The result of the kernels.
        signals: int64[n, SIGNALS], their live signals.
        partition: int32[n], partition of each message.
    """
    return Payments(
        decoded.batch,
        columns,
        advanced.features,
        advanced.pays,
        advanced.new,
        signals,
        decoded.extra,
        partition,
        np.array([record.offset for record in decoded.records], np.int64),
        np.array([record.timestamp for record in decoded.records], np.int64),
    )


def feature_log(rollout: Rollout, decided: BatchDecision, payments: ScoredPayments) -> pa.RecordBatch:
    """Return the feature log of decided payments: identifiers, decision with its author, score and features.

    Of the live features it has the signals, from which `by_column` computes them: a twentieth of their size.
    """
    columns = {name: payments.batch.column(name) for name in _CARRIED} | decided.log()
    columns[SIGNALS_COLUMN] = signals_column(payments.signals)
    carried = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    names = (*SETTLED, *(EXTRA + name for name in rollout.extra))
    matrix = rollout.matrix(payments.features[:, : len(SETTLED)], payments.extra)
    # The log has all features, also those that the model in force does not use, so its hash is the whole catalogue's.
    in_force = catalogue_hash(rollout.champion.scorer.contract.label_delay_days * DAY)
    return feature_batch(carried, names, matrix, decided.score, decided.versions | {"features_hash": in_force})
