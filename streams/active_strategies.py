"""The strategies in force: built from control records, swapped between batches, withdrawn by the guardrail."""

import threading

import numpy as np
import structlog

from decisions.policy_record import read_policy
from decisions.rollout import BatchDecision, FlagCount, Rollout
from decisions.strategy import Strategy
from models.registry.store import fetch
from models.scorer import Scorer, check_label_delay, load_scorer
from streams.metrics import Metrics
from streams.warmup import warm_up
from vedette import control
from vedette.clock import Clock
from vedette.control import ControlRecord, ModelRef, Models, PolicyRecord
from vedette.errors import ModelError, VedetteError
from vedette.settings import RegistrySettings

_log = structlog.get_logger("vedette.worker")

_MIN_FLAGGED = 5
"""Minimum number of flagged payments assumed for the champion, so that a few first alerts are not a breach."""


class ActiveStrategies:
    """The rollout in force, and how it changes.

    A new one is built in the background and then swapped in one step: a batch reads it once, so no batch is decided by
    a mixture. A record that cannot be loaded is refused, and the previous version stays in force.

    Args:
        settings: Settings of the deployment.
        rollout: The rollout in force until the first control record.
        metrics: Counts changes and refusals.
        clock: Clock for the guardrail's records.
    """

    def __init__(self, settings: RegistrySettings, rollout: Rollout, metrics: Metrics, clock: Clock) -> None:
        self.rollout = rollout
        self.outgoing: list[Models] = []
        """Records of the guardrail that are to be published for the other workers."""
        self._settings = settings
        self._label_delay_days = rollout.champion.scorer.contract.label_delay_days
        self._metrics = metrics
        self._clock = clock
        self._models: Models | None = None
        self._loaded: dict[ModelRef, Scorer] = {}
        self._lock = threading.Lock()
        self._flagged = {"champion": 0, "challenger": 0}
        self._scored = 0
        metrics.in_force_is(rollout.versions)

    def apply(self, record: ControlRecord) -> bool:
        """Put a record into force, and return whether that was possible."""
        try:
            rollout = self._with_models(record) if isinstance(record, Models) else self._with_policy(record)
            _check(rollout)
            check_label_delay(rollout.champion.scorer, self._label_delay_days)
            if rollout.challenger:
                check_label_delay(rollout.challenger.scorer, self._label_delay_days)
        except (VedetteError, OSError) as error:
            what = f"{record.champion}, {record.challenger}" if isinstance(record, Models) else record.name
            self.refuse(f"{what}: {error}")
            return False
        with self._lock:
            self.rollout = rollout
            if isinstance(record, Models):
                self._models = record
                kept = {record.champion, record.challenger}
                self._loaded = {ref: scorer for ref, scorer in self._loaded.items() if ref in kept}
            self._flagged, self._scored = {"champion": 0, "challenger": 0}, 0
        self._metrics.in_force_is(rollout.versions)
        _log.info(
            "in force",
            **rollout.versions,
            rollout_fraction=rollout.rollout_fraction,
            approver=record.approver,
            reason=record.reason,
            at=record.at,
        )
        return True

    def observe(self, decided: BatchDecision) -> None:
        """Count the decisions on a batch, and withdraw the challenger if it fails or flags too much."""
        self._metrics.decided(decided.versions, decided.flag_counts)
        models = self._models
        if models is None or decided.versions.get("challenger") != str(models.challenger):
            return  # no challenger, or the batch was decided before it was started
        if why := (decided.failure or self._too_many(models, decided.flag_counts)):
            self._withdraw(models, why)

    def _with_models(self, record: Models) -> Rollout:
        policy = self.rollout.champion.policy
        champion = self._scorer(record.champion)
        challenger = Strategy(self._scorer(record.challenger), policy) if record.challenger else None
        return Rollout(Strategy(champion, policy), challenger, record.rollout_fraction)

    def _scorer(self, ref: ModelRef) -> Scorer:
        """Return a version, loaded once."""
        if ref not in self._loaded:
            self._loaded[ref] = load_scorer(fetch(self._settings, ref))
        return self._loaded[ref]

    def _with_policy(self, record: PolicyRecord) -> Rollout:
        policy = read_policy(record)
        challenger = self.rollout.challenger
        return Rollout(
            Strategy(self.rollout.champion.scorer, policy),
            Strategy(challenger.scorer, policy) if challenger else None,
            self.rollout.rollout_fraction,
        )

    def refuse(self, why: str) -> None:
        """Log and count that a record was refused, and that the previous version stays in force."""
        _log.critical("refused; what was in force stays", because=why, **self.rollout.versions)
        self._metrics.refuse(why)

    def _too_many(self, models: Models, flag_counts: dict[str, FlagCount]) -> str:
        """Return why the challenger flags too much, checked after every `min_payments` payments; '' if not."""
        if "challenger" not in flag_counts:
            return ""
        for role, count in flag_counts.items():
            self._flagged[role] += count.flagged
        self._scored += flag_counts["champion"].scored
        if self._scored < models.guardrail.min_payments:
            return ""
        scored, old, new = self._scored, self._flagged["champion"], self._flagged["challenger"]
        self._flagged, self._scored = {"champion": 0, "challenger": 0}, 0
        if new <= models.guardrail.max_alert_ratio * max(old, _MIN_FLAGGED):
            return ""
        return f"it would flag {new} of {scored} payments, the champion {old}"

    def _withdraw(self, models: Models, why: str) -> None:
        with self._lock:
            if self._models is not models:
                return  # another record has come meanwhile
            self._models = Models(
                champion=models.champion,
                previous=models.previous,
                guardrail=models.guardrail,
                withdrawn=models.challenger,
                at=self._clock.now_ms(),
                approver=control.BY_GUARDRAIL,
                reason=why,
            )
            self.rollout = Rollout(self.rollout.champion)
            self.outgoing.append(self._models)
        self._metrics.withdrawn.inc()
        self._metrics.in_force_is(self.rollout.versions)
        _log.critical("challenger withdrawn by the guardrail", challenger=str(models.challenger), because=why)


def _check(rollout: Rollout) -> None:
    """Run a payment through a rollout, as in the stream.

    Raises:
        ModelError: A model cannot score.
    """
    decided = warm_up(rollout)
    if decided.failure or not np.isfinite(decided.score).all():
        raise ModelError(
            f"the model cannot score: {decided.failure or 'a score is not a number'}", remedy="train it again"
        )
