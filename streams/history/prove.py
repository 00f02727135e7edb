"""Proof of past decisions: each is made again from archived events, by the versions that made it, and compared.

Everything is compared bit for bit: features with the feature log, the decision with the archived one. Live features
depend on how far other partitions had come, so they are taken as logged.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from decisions.policy import Policy
from decisions.strategy import Strategy
from decisions.unscored import approve_unscored
from features.catalogue import LIVE, NAMES, SETTLED, catalogue_hash
from features.columns import from_batch
from features.engine import stateless_features
from features.identity import Identity
from features.limits import fill_limits
from models.scorer import Scorer
from streams.history.replay import SHIFTS_MS, Recomputed
from vedette.errors import VedetteError
from vedette.events import Decision

_REASONS = {"reasons": "text", "reason_codes": "code", "reason_weights": "weight"}
_decode = msgspec.json.Decoder(Decision).decode


class FieldDifference(msgspec.Struct, frozen=True, kw_only=True):
    """A value that is not what was archived."""

    field: str
    archived: Any
    recomputed: Any


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What came out when a decision was made again.

    Attributes:
        transaction_id: The payment.
        account_id: Its account.
        model: Version that decided; empty: decided without a score.
        policy: Version of the policy.
        features: Number of features that were computed again.
        live: Number of live features, which were taken as logged.
        shift_ms: How far from the payment's arrival the owners of its merchant, device and address had come, where this
            made a difference.
        differences: What differs, features first.
        problem: Why the decision could not be made again; empty: it was.
    """

    transaction_id: str
    account_id: str
    model: str = ""
    policy: str = ""
    features: int = 0
    live: int = 0
    shift_ms: int = 0
    differences: list[FieldDifference] = []
    problem: str = ""

    @property
    def same(self) -> bool:
        """Whether the decision was made again, bit for bit."""
        return not self.differences and not self.problem


@dataclass(frozen=True)
class ArchivedDecision:
    """A decision as archived.

    Attributes:
        decision: Values by field of Decision; reasons as `reasons`, `reason_codes` and `reason_weights`.
        logged: Features by name as the feature log has them; empty: nothing was logged.
        features_hash: Hash of the catalogue of the logged features.
    """

    decision: Mapping[str, Any]
    logged: Mapping[str, float]
    features_hash: str = ""


@dataclass
class Prover:
    """Makes decisions again.

    Args:
        label_delay: Milliseconds.
        identity: The key of the hashes.
        scorer: Returns a version of the model.
        policy: Returns a version of the policy.
    """

    label_delay: int
    identity: Identity
    scorer: Callable[[str], Scorer]
    policy: Callable[[str], Policy]
    _strategies: dict[tuple[str, str], Strategy | str] = field(default_factory=dict)

    def prove(self, found: Recomputed, archived: ArchivedDecision) -> Proof:
        """Make a decision again.

        Args:
            found: The payment with its features, computed again.
            archived: What was decided.
        """
        decision = archived.decision
        proof = Proof(
            transaction_id=decision["transaction_id"], account_id=decision["account_id"], model=decision["model"],
            policy=decision["policy"],
        )  # fmt: skip
        strategy = self._strategy(decision["model"], decision["policy"])
        if isinstance(strategy, str):
            return msgspec.structs.replace(proof, problem=strategy)
        if decision["degraded"]:
            features = stateless_features(from_batch(found.batch, self.identity))
            made = _decided(strategy, found, features, decision)
            return msgspec.structs.replace(proof, features=len(NAMES), differences=_unlike(decision, made))
        if not decision["model"]:
            (message,) = approve_unscored(found.batch, strategy, degraded=False)
            made = msgspec.structs.replace(_decode(message), features_hash=decision["features_hash"])
            return msgspec.structs.replace(proof, differences=_unlike(decision, made))
        if problem := self._problem(archived):
            return msgspec.structs.replace(proof, problem=problem)
        best = None
        for shift, features in zip(SHIFTS_MS, found.variants[:, np.newaxis].copy(), strict=True):
            fill_limits(features, found.batch, strategy.policy.limits)
            differences = list(_unlike_features(archived.logged, features[0]))
            if best is None or len(differences) < len(best[2]):
                best = shift, features, differences
            if not differences:
                break
        assert best is not None  # noqa: S101, there are several variants
        shift, features, differences = best
        features[0, _LIVE] = [archived.logged[name] for name in _LIVE_NAMES]
        made = _decided(strategy, found, features, decision)
        return msgspec.structs.replace(
            proof, features=len(SETTLED), live=len(LIVE), shift_ms=shift,
            differences=[*differences, *_unlike(decision, made)],
        )  # fmt: skip

    def _problem(self, archived: ArchivedDecision) -> str:
        if not archived.logged:
            return "the feature log has no entry for it, so its live signals are not known"
        wanted = catalogue_hash(self.label_delay)
        if archived.features_hash != wanted:
            return f"it was decided with the feature catalogue {archived.features_hash}, this release has {wanted}"
        return ""

    def _strategy(self, model: str, policy: str) -> Strategy | str:
        """Return the strategy of these versions, or why there is none."""
        if (model, policy) not in self._strategies:
            try:
                self._strategies[model, policy] = Strategy(self.scorer(model), self.policy(policy))
            except (VedetteError, OSError) as error:
                self._strategies[model, policy] = str(error)
        return self._strategies[model, policy]


_LIVE_NAMES = tuple(name for name in NAMES if name in LIVE)
_LIVE = np.array([NAMES.index(name) for name in _LIVE_NAMES])


def _decided(
    strategy: Strategy, found: Recomputed, features: NDArray[np.float64], archived: Mapping[str, Any]
) -> Decision:
    batch = found.batch
    evaluation = strategy.evaluate(batch, features, [found.extra])
    (message,) = strategy.decide(batch, evaluation, np.arange(1), degraded=archived["degraded"]).messages
    return _decode(message)


def _unlike_features(logged: Mapping[str, float], computed: NDArray[np.float64]) -> Iterator[FieldDifference]:
    """Yield the features that are not the same to the bit; a missing value equals any other."""
    for name in SETTLED:
        was, now = logged[name], float(computed[NAMES.index(name)])
        if not _same(was, now):
            yield FieldDifference(field=name, archived=was, recomputed=now)


def _unlike(archived: Mapping[str, Any], made: Decision) -> list[FieldDifference]:
    """Return the fields of a decision that differ."""
    differences = []
    for name, now in _fields(made):
        was = archived[name]
        if not _same(was, now) and not (was is None and name in _ADDED):
            differences.append(FieldDifference(field=name, archived=was, recomputed=now))
    return differences


_ADDED = {"reason_codes", "reason_weights"}
"""Columns that are null where the decision is from before reasons had codes."""


def _fields(made: Decision) -> Iterator[tuple[str, Any]]:
    for name in Decision.__struct_fields__:
        if name in _REASONS:
            continue
        value = getattr(made, name)
        yield name, None if value is UNSET else value
    for name, part in _REASONS.items():
        yield name, [getattr(reason, part) for reason in made.reasons]


def _same(was: Any, now: Any) -> bool:
    if isinstance(was, float) and isinstance(now, float):
        return was == now or (np.isnan(was) and np.isnan(now))
    return bool(was == now)
