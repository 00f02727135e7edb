"""From features to decisions and alerts: model, policy, reasons."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features import NAMES, catalogue_hash
from models.explain import reasons
from models.scorer import Scorer
from streams.decode import SCHEMA
from streams.policy import ACTIONS, Policy, Verdict
from vedette.events import Alert, Decision

EVENT_COLUMNS = tuple(SCHEMA.names)
"""What rules may refer to besides features."""

_NAMED = ("merchant_id", "payee", "channel", "country", "device_id", "ip_address")
_COPIED = ("transaction_id", "account_id", "event_time", "amount", "currency")


@dataclass(frozen=True)
class Opinion:
    """What one model and the policy make of n transactions."""

    score: NDArray[np.float64]
    """Calibrated probabilities, float64[n]."""
    verdict: Verdict
    matrix: NDArray[np.float64]
    """What the model saw, float64[n, features + extra]."""


@dataclass(frozen=True)
class Judge:
    """A model and a policy, in force together."""

    scorer: Scorer
    policy: Policy

    @property
    def about(self) -> dict[str, Any]:
        """What every record of their work carries."""
        return {"model": self.scorer.version, "policy": self.policy.name, "features_hash": catalogue_hash()}

    def matrix(self, features: NDArray[np.float64], extra: list[dict[str, float]]) -> NDArray[np.float64]:
        """What the model takes: the features, float64[n, features], and the vendor features it was trained on."""
        return with_vendor(features, self.scorer.extra, extra)

    def verdict(
        self, batch: pa.RecordBatch, features: NDArray[np.float64], matrix: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], Verdict]:
        """Calibrated probabilities, float64[n], and what the policy makes of them."""
        score = self.scorer.predict(matrix)
        columns = {
            name: batch.column(name) if name in EVENT_COLUMNS else features[:, NAMES.index(name)]
            for name in self.policy.columns
        }
        amount = batch.column("amount").to_numpy(zero_copy_only=False)
        return score, self.policy.decide(columns, score, amount, batch.column("currency"))

    def opinion(
        self, batch: pa.RecordBatch, features: NDArray[np.float64], extra: list[dict[str, float]]
    ) -> Opinion:  # fmt: skip
        """Score n transactions and ask the policy.

        Args:
            batch: Columns as the fields of Transaction.
            features: float64[n, features] in catalogue order.
            extra: Vendor features of each transaction.
        """
        matrix = self.matrix(features, extra)
        score, verdict = self.verdict(batch, features, matrix)
        return Opinion(score, verdict, matrix)

    def decisions(
        self, batch: pa.RecordBatch, opinion: Opinion, rows: NDArray[np.intp], *, degraded: bool
    ) -> list[Decision]:  # fmt: skip
        """The decisions on some rows of a batch, with reasons for the flagged ones.

        Args:
            batch: The transactions.
            opinion: On all of them.
            rows: Which to decide on.
            degraded: Whether the features were computed without state.
        """
        verdict = opinion.verdict
        flagged = rows[verdict.action[rows] > 0]
        because = dict(zip(flagged.tolist(), reasons(self.scorer, opinion.matrix[flagged]), strict=True))
        about = self.about
        part = batch if len(rows) == len(batch) else batch.take(pa.array(rows))
        decided = [
            Decision(
                transaction_id=transaction_id,
                account_id=account_id,
                event_time=event_time,
                amount=amount,
                currency=currency,
                action=ACTIONS[action],
                score=probability,
                expected_loss=loss,
                reasons=[*verdict.reasons.get(i, ()), *because.get(i, ())],
                rules=verdict.rules.get(i, []),
                degraded=degraded,
                **about,
            )
            for i, transaction_id, account_id, event_time, amount, currency, action, probability, loss in zip(
                rows.tolist(),
                *(part.column(name).to_pylist() for name in _COPIED),
                verdict.action[rows].tolist(),
                opinion.score[rows].tolist(),
                verdict.expected_loss[rows].tolist(),
                strict=True,
            )
        ]
        for place in np.flatnonzero(verdict.action[rows]).tolist():
            decided[place] = _naming(decided[place], part, place)
        return decided


def with_vendor(
    features: NDArray[np.float64], names: Sequence[str], extra: list[dict[str, float]]
) -> NDArray[np.float64]:
    """The features, float64[n, features], and some vendor features behind them; NaN where one did not come along."""
    if not names:
        return features
    vendor = [[values.get(name, np.nan) for name in names] for values in extra]
    return np.column_stack([features, np.array(vendor, np.float64).reshape(len(extra), -1)])


def _naming(decision: Decision, batch: pa.RecordBatch, row: int) -> Decision:
    """The decision, also saying whom the payment goes to and from which device."""
    of = {name: batch.column(name)[row].as_py() for name in ("merchant_id", "payee", "device_id")}
    return msgspec.structs.replace(decision, **{name: value for name, value in of.items() if value is not None})


def alert(decision: Decision, batch: pa.RecordBatch, row: int) -> Alert:
    """The alert of a flagged decision on a row of a batch."""
    of = {name: batch.column(name)[row].as_py() for name in _NAMED}
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
        **of,
    )
