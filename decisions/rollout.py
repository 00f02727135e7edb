"""Champion and challenger: the strategy that decides for each account, and the decision of the other one."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from decisions.strategy import Decided, Evaluation, Strategy, alert, with_vendor_features
from decisions.unscored import approve_unscored, scored_rows
from features.catalogue import LIVE
from features.hashing import hash_strings
from features.identity import OPEN
from vedette.errors import ModelError
from vedette.events import Alert, Decision

_BUCKETS = 1_000_000
_NO_ACTION = -1
_decode = msgspec.json.Decoder(Decision).decode


@dataclass(frozen=True)
class FlagCount:
    """Number of payments that a model has scored, and of those that the policy flags, or would flag, by its score."""

    scored: int
    flagged: int


@dataclass(frozen=True)
class BatchDecision:
    """The decisions of a rollout on n transactions.

    Attributes:
        messages: One decision as JSON for each transaction.
        alerts: One alert for each flagged transaction.
        log: Returns columns for the feature log, which is not time-critical: `role` and `model` that decided, `action`,
            and `shadow_model`, `shadow_score`, `shadow_action` of the other of the two (empty, NaN and -1 without one).
        score: float64[n], the scores of the deciding strategies.
        versions: The versions in force.
        shadow_rules: Shadow rule → number of transactions on which it was true.
        flag_counts: Counts by role, `champion` first.
        failure: Reason why the challenger could not score; the champion has then decided the whole batch.
        action: int64[n], indices into ACTIONS.
    """

    messages: list[bytes]
    alerts: list[Alert]
    log: Callable[[], dict[str, pa.Array]]
    score: NDArray[np.float64]
    versions: dict[str, str]
    shadow_rules: dict[str, int]
    flag_counts: dict[str, FlagCount] = field(default_factory=dict)
    failure: str = ""
    action: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def decisions(self) -> list[Decision]:
        """Return the decisions, decoded from their messages."""
        return list(map(_decode, self.messages))


@dataclass(frozen=True)
class Rollout:
    """The strategies in force. One rollout decides a whole batch; every decision names the strategy that made it.

    Attributes:
        champion: The strategy that decides.
        challenger: The strategy that also scores every payment, and decides for some of the accounts.
        rollout_fraction: The fraction of accounts for which the challenger decides, from 0 to 1.
    """

    champion: Strategy
    challenger: Strategy | None = None
    rollout_fraction: float = 0.0

    @property
    def versions(self) -> dict[str, str]:
        """The versions in force: those of the champion, and `challenger` if there is one."""
        challenger = {"challenger": self.challenger.scorer.version} if self.challenger else {}
        return {**self.champion.versions, **challenger}

    @property
    def reads_live(self) -> bool:
        """Whether a model or a policy reads more than the settled features, so that the live ones must be there."""
        strategies = [self.champion, *([self.challenger] if self.challenger else [])]
        return any(one.scorer.reads_live or not LIVE.isdisjoint(one.policy.columns) for one in strategies)

    @property
    def extra(self) -> tuple[str, ...]:
        """Vendor features that any of the models uses."""
        others = self.challenger.scorer.extra if self.challenger else ()
        return tuple(sorted({*self.champion.scorer.extra, *others}))

    def matrix(self, features: NDArray[np.float64], extra: list[dict[str, float]]) -> NDArray[np.float64]:
        """Return the features and the vendor features that any of the models uses, float64[n, features + extra]."""
        return with_vendor_features(features, self.extra, extra)

    def decide(
        self, batch: pa.RecordBatch, features: NDArray[np.float64], extra: list[dict[str, float]], *, degraded: bool
    ) -> BatchDecision:
        """Score and decide.

        Args:
            batch: n transactions, columns as the fields of Transaction.
            features: float64[n, features] in catalogue order.
            extra: Vendor features of each transaction.
            degraded: Whether the features were computed without history.
        """
        champion = self.champion.evaluate(batch, features, extra)
        trial, failure = self._try_challenger(batch, features, extra, degraded=degraded)
        if trial is None:
            decided = self.champion.decide(batch, champion, np.arange(len(batch)), degraded=degraded)
            messages, flagged = decided.messages, decided.flagged
            score, action = champion.score, champion.result.action.astype(np.int64)
        else:
            rest = self.champion.decide(batch, champion, np.flatnonzero(~trial.chosen), degraded=degraded)
            messages = _merged(trial.chosen, trial.decided.messages, rest.messages)
            flagged = trial.decided.flagged | rest.flagged
            score, action = _either(trial.chosen, trial.evaluation, champion)
        flag_counts = {"champion": _flag_count(champion)}
        if trial is not None:
            flag_counts["challenger"] = _flag_count(trial.evaluation)
        return BatchDecision(
            messages=messages,
            alerts=[alert(decision, batch, row) for row, decision in sorted(flagged.items())],
            log=lambda: self._log(action, champion, trial),
            score=score,
            versions=self.versions,
            shadow_rules=champion.result.shadow_rules,
            flag_counts=flag_counts,
            failure=failure,
            action=action,
        )

    def split(self, batch: pa.RecordBatch, pays: NDArray[np.bool_] | None) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the rows of a batch that a model scores, and those that are approved without a score.

        Args:
            batch: n transactions, columns as the fields of Transaction.
            pays: See decisions.unscored.scored_rows.
        """
        scored = scored_rows(batch, self.champion.policy.form.scored_kinds, pays)
        return np.flatnonzero(scored), np.flatnonzero(~scored)

    def with_unscored(
        self, messages: list[bytes], batch: pa.RecordBatch, unscored: NDArray[np.intp], *, degraded: bool
    ) -> list[bytes]:
        """Return the decisions on a whole batch as JSON, in the order of its rows.

        Args:
            messages: The decisions on the scored rows.
            batch: The whole batch.
            unscored: The other rows, which are approved.
            degraded: Whether it was decided without history.
        """
        if not len(unscored):
            return messages
        chosen = np.zeros(len(batch), np.bool_)
        chosen[unscored] = True
        approvals = approve_unscored(batch.take(pa.array(unscored)), self.champion, degraded=degraded)
        return _merged(chosen, approvals, messages)

    def _try_challenger(
        self, batch: pa.RecordBatch, features: NDArray[np.float64], extra: list[dict[str, float]], *, degraded: bool
    ) -> "tuple[_Trial | None, str]":
        """Return the challenger's part, or the reason why there is none."""
        if self.challenger is None:
            return None, ""
        try:
            evaluation = _finite(self.challenger.evaluate(batch, features, extra))
            chosen = in_rollout(batch.column("account_id"), self.challenger.scorer.version, self.rollout_fraction)
            decided = self.challenger.decide(batch, evaluation, np.flatnonzero(chosen), degraded=degraded)
        except Exception as error:  # noqa: BLE001 — a model on trial may fail in any way, and must not stop the stream
            return None, f"{type(error).__name__}: {error}"
        return _Trial(chosen, evaluation, decided), ""

    def _log(self, action: NDArray[np.int64], champion: Evaluation, trial: "_Trial | None") -> dict[str, pa.Array]:
        n = len(action)
        if trial is None or self.challenger is None:
            return {
                "role": _repeated("champion", n),
                "model": _repeated(self.champion.scorer.version, n),
                "action": pa.array(action),
                "shadow_model": _repeated("", n),
                "shadow_score": pa.array(np.full(n, np.nan)),
                "shadow_action": pa.array(np.full(n, _NO_ACTION, np.int64)),
            }
        versions = self.challenger.scorer.version, self.champion.scorer.version
        shadow_score, shadow_action = _either(trial.chosen, champion, trial.evaluation)
        return {
            "role": pa.array(np.where(trial.chosen, "challenger", "champion"), pa.string()),
            "model": pa.array(np.where(trial.chosen, *versions), pa.string()),
            "action": pa.array(action),
            "shadow_model": pa.array(np.where(trial.chosen, *reversed(versions)), pa.string()),
            "shadow_score": pa.array(shadow_score),
            "shadow_action": pa.array(shadow_action),
        }


@dataclass(frozen=True)
class _Trial:
    """The challenger's part of a batch of n transactions."""

    chosen: NDArray[np.bool_]
    """bool[n], whether it decides a transaction."""
    evaluation: Evaluation
    """Evaluation of all n."""
    decided: Decided
    """Decisions on the chosen ones."""


class StrategyProvider(Protocol):
    """Provides the strategies in force."""

    @property
    def rollout(self) -> Rollout:
        """The rollout in force."""

    def observe(self, decided: BatchDecision) -> None:
        """Record the decisions on a batch."""


@dataclass(frozen=True)
class StaticStrategies:
    """A rollout that never changes, for benchmarks and tests without a control topic."""

    rollout: Rollout

    def observe(self, decided: BatchDecision) -> None:
        """Ignore the decisions."""


def in_rollout(account: pa.Array, salt: str, fraction: float) -> NDArray[np.bool_]:
    """Return which accounts take part in a rollout: stable for a salt, and more with a larger fraction.

    Args:
        account: Account ids, text[n].
        salt: The challenger's version.
        fraction: Fraction of the accounts, from 0 to 1.
    """
    bucket = hash_strings(pc.binary_join_element_wise(account, salt, "|"), OPEN.keys["account_id"]) % np.uint64(
        _BUCKETS
    )
    inside: NDArray[np.bool_] = bucket < round(fraction * _BUCKETS)
    return inside


def _finite(evaluation: Evaluation) -> Evaluation:
    if not np.isfinite(evaluation.score).all():
        raise ModelError("a score is not a number")
    return evaluation


def _either(
    chosen: NDArray[np.bool_], one: Evaluation, other: Evaluation
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return scores and actions of one evaluation on the chosen rows, and of another on the rest."""
    action = np.where(chosen, one.result.action, other.result.action)
    return np.where(chosen, one.score, other.score), action.astype(np.int64)


def _merged(chosen: NDArray[np.bool_], one: list[bytes], other: list[bytes]) -> list[bytes]:
    """Return decisions on the chosen rows and on the rest, in the order of the rows."""
    next_one, next_other = iter(one), iter(other)
    return [next(next_one if is_chosen else next_other) for is_chosen in chosen.tolist()]


def _repeated(text: str, n: int) -> pa.Array:
    return pa.repeat(pa.scalar(text, pa.string()), n)


def _flag_count(evaluation: Evaluation) -> FlagCount:
    return FlagCount(len(evaluation.score), int(np.count_nonzero(evaluation.result.action)))
