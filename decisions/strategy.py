"""A strategy is a model with a policy: it turns features into decisions and alerts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from decisions.encoding import PARTIES, REPEATED, encode, encode_approvals
from decisions.policy import Policy, PolicyResult
from decisions.policy_form import ACTIONS
from features.catalogue import NAMES
from features.transaction_schema import SCHEMA
from models.explain import reasons
from models.scorer import Scorer
from vedette.events import DEFAULT_KIND, Alert, Decision, Reason

EVENT_COLUMNS = tuple(SCHEMA.names)
"""Columns that rules may use in addition to features."""

_PLACES = {name: place for place, name in enumerate(NAMES)}
_COPIED = ("transaction_id", "account_id", "event_time", "amount", "currency")


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of n transactions by a strategy."""

    score: NDArray[np.float64]
    """Calibrated probabilities, float64[n]."""
    result: PolicyResult
    matrix: NDArray[np.float64]
    """Input of the model, float64[n, features + extra]."""


@dataclass(frozen=True)
class Strategy:
    """A model and a policy."""

    scorer: Scorer
    policy: Policy

    @property
    def versions(self) -> dict[str, Any]:
        """The versions that every decision names: model, policy, and hash of the catalogue."""
        return {
            "model": self.scorer.version,
            "policy": self.policy.name,
            "features_hash": self.scorer.contract.features_hash,
        }

    def matrix(self, features: NDArray[np.float64], extra: list[dict[str, float]]) -> NDArray[np.float64]:
        """Return the input of the model: features, float64[n, features], and the vendor features it was trained on."""
        return with_vendor_features(features, self.scorer.extra, extra)

    def evaluate(
        self, batch: pa.RecordBatch, features: NDArray[np.float64], extra: list[dict[str, float]]
    ) -> Evaluation:
        """Score n transactions and apply the policy.

        Args:
            batch: Columns as the fields of Transaction.
            features: float64[n, features] in catalogue order.
            extra: Vendor features of each transaction.
        """
        matrix = self.matrix(features, extra)
        score, result = self.evaluate_matrix(batch, features, matrix)
        return Evaluation(score, result, matrix)

    def evaluate_matrix(
        self, batch: pa.RecordBatch, features: NDArray[np.float64], matrix: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], PolicyResult]:
        """Return calibrated probabilities, float64[n], and the policy's result for them."""
        score = self.scorer.predict(matrix)
        columns: dict[str, Any] = {
            name: batch.column(name) if name in EVENT_COLUMNS else features[:, _PLACES[name]]
            for name in self.policy.columns
        }
        if "kind" in columns:
            columns["kind"] = columns["kind"].fill_null(DEFAULT_KIND)
        amount = batch.column("amount").to_numpy(zero_copy_only=False)
        return score, self.policy.decide(columns, score, amount, batch.column("currency"))

    def decide(
        self, batch: pa.RecordBatch, evaluation: Evaluation, rows: NDArray[np.intp], *, degraded: bool
    ) -> "Decided":  # fmt: skip
        """Return the decisions on some rows of a batch, with reasons for the flagged ones.

        Args:
            batch: The transactions.
            evaluation: Evaluation of all of them.
            rows: Rows to decide, ascending.
            degraded: Whether the features were computed without history.
        """
        result = evaluation.result
        part, score, loss = batch, evaluation.score, result.expected_loss
        if len(rows) < len(batch):
            part, score, loss = batch.take(pa.array(rows)), score[rows], loss[rows]
        messages = encode_approvals(part, score, loss, self.versions, degraded=degraded)
        flagged = rows[result.action[rows] > 0]
        currencies = batch.column("currency").take(pa.array(flagged)).to_pylist()
        worded = reasons(self.scorer, evaluation.matrix[flagged], currencies)
        model_reasons = dict(zip(flagged.tolist(), worded, strict=True))
        # An allow list gives its reason even where it approves.
        explained = sorted({*model_reasons, *result.rules, *result.reasons}.intersection(rows.tolist()))
        decisions = {
            row: self._decision(batch, evaluation, row, model_reasons.get(row, ()), degraded=degraded)
            for row in explained
        }
        for place, row in zip(np.searchsorted(rows, explained).tolist(), explained, strict=True):
            messages[place] = encode(decisions[row])
        return Decided(messages, {row: decisions[row] for row in model_reasons})

    def _decision(
        self,
        batch: pa.RecordBatch,
        evaluation: Evaluation,
        row: int,
        model_reasons: Sequence[Reason],
        *,
        degraded: bool,
    ) -> Decision:
        result = evaluation.result
        repeated = {name: value for name, value in _values(batch, row, REPEATED).items() if value is not None}
        return Decision(
            action=ACTIONS[result.action[row]],
            score=float(evaluation.score[row]),
            expected_loss=int(result.expected_loss[row]),
            reasons=result.reasons_of(row, model_reasons),
            rules=result.rules.get(row, []),
            degraded=degraded,
            **_values(batch, row, _COPIED),
            **repeated,
            **self.versions,
        )


@dataclass(frozen=True)
class Decided:
    """The decisions of a strategy on n rows of a batch."""

    messages: list[bytes]
    """Each decision as JSON."""
    flagged: dict[int, Decision]
    """Decisions other than approvals, by row of the batch."""


def with_vendor_features(
    features: NDArray[np.float64], names: Sequence[str], extra: list[dict[str, float]]
) -> NDArray[np.float64]:
    """Return the features, float64[n, features], followed by vendor features; NaN where one is missing."""
    if not names:
        return features
    vendor = [[values.get(name, np.nan) for name in names] for values in extra]
    return np.column_stack([features, np.array(vendor, np.float64).reshape(len(extra), -1)])


def alert(decision: Decision, batch: pa.RecordBatch, row: int) -> Alert:
    """Return the alert of a flagged decision on a row of a batch."""
    return Alert(
        alert_id=f"alert-{decision.transaction_id}",
        transaction_id=decision.transaction_id,
        account_id=decision.account_id,
        event_time=decision.event_time,
        amount=decision.amount,
        currency=decision.currency,
        action=decision.action,
        score=decision.score,
        expected_loss=decision.expected_loss,
        reasons=decision.reasons,
        degraded=decision.degraded or msgspec.UNSET,
        segment=batch.column("account_type")[row].as_py(),
        kind=decision.kind,
        **_values(batch, row, PARTIES),
    )


def _values(batch: pa.RecordBatch, row: int, names: Sequence[str]) -> dict[str, Any]:
    return {name: batch.column(name)[row].as_py() for name in names}
