"""What is in force in a worker: built from control records, swapped between batches, and taken back by the guard."""

import tempfile
import threading
from pathlib import Path

import numpy as np
import structlog

from features import NAMES
from models.registry.store import fetch
from models.scorer import Scorer, load_scorer
from streams.metrics import Metrics
from streams.panel import Panel, Scored, Tally
from streams.policy import Policy, load_policy
from streams.scoring import EVENT_COLUMNS, Judge
from streams.warm import warm_up
from vedette import control
from vedette.clock import Clock
from vedette.control import ModelRef, Models, Record
from vedette.errors import InputError, ModelError, PolicyError, VedetteError
from vedette.settings import RegistrySettings

_log = structlog.get_logger("vedette.worker")

_FEWEST = 5
"""The other model is taken to have flagged at least so many, so that the first few alerts are no breach."""


class Service:
    """The panel in force, and how it changes.

    Built whole in the background and then swapped in one step: a batch asks once who judges it, so no batch is decided
    by a mixture. What cannot be loaded is refused, and what was in force stays.

    Args:
        settings: Where versions are kept.
        panel: In force until a control record says otherwise.
        metrics: Where changes and refusals are counted.
        clock: For the guard's own records.
    """

    def __init__(self, settings: RegistrySettings, panel: Panel, metrics: Metrics, clock: Clock) -> None:
        self.panel = panel
        self.outgoing: list[Models] = []
        """Records of the guard that the other workers must hear of."""
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._models: Models | None = None
        self._loaded: dict[ModelRef, Scorer] = {}
        self._lock = threading.Lock()
        self._flagged = {"champion": 0, "challenger": 0}
        self._scored = 0
        metrics.in_force_is(panel.about)

    def apply(self, record: Record) -> bool:
        """Put a record into force; whether it could be."""
        try:
            panel = self._with_models(record) if isinstance(record, Models) else self._with_policy(record)
            _check(panel)
        except (VedetteError, OSError) as error:
            what = f"{record.champion}, {record.challenger}" if isinstance(record, Models) else record.name
            self.refuse(f"{what}: {error}")
            return False
        with self._lock:
            self.panel = panel
            if isinstance(record, Models):
                self._models = record
                kept = {record.champion, record.challenger}
                self._loaded = {ref: scorer for ref, scorer in self._loaded.items() if ref in kept}
            self._flagged, self._scored = {"champion": 0, "challenger": 0}, 0
        self._metrics.in_force_is(panel.about)
        _log.info(
            "in force", **panel.about, share=panel.share, approver=record.approver, reason=record.reason, at=record.at
        )
        return True

    def seen(self, scored: Scored) -> None:
        """Count what a batch came to, and withdraw the challenger if it fails or flags too much."""
        self._metrics.judged(scored.about, scored.tallies)
        models = self._models
        if models is None or scored.about.get("challenger") != str(models.challenger):
            return  # no challenger, or the batch was judged before it came
        if why := (scored.failure or self._too_many(models, scored.tallies)):
            self._withdraw(models, why)

    def _with_models(self, record: Models) -> Panel:
        policy = self.panel.champion.policy
        champion = self._scorer(record.champion)
        challenger = Judge(self._scorer(record.challenger), policy) if record.challenger else None
        return Panel(Judge(champion, policy), challenger, record.share)

    def _scorer(self, ref: ModelRef) -> Scorer:
        """A version, loaded once."""
        if ref not in self._loaded:
            self._loaded[ref] = load_scorer(fetch(self._settings, ref))
        return self._loaded[ref]

    def _with_policy(self, record: control.Policy) -> Panel:
        policy = read_policy(record)
        challenger = self.panel.challenger
        return Panel(
            Judge(self.panel.champion.scorer, policy),
            Judge(challenger.scorer, policy) if challenger else None,
            self.panel.share,
        )

    def refuse(self, why: str) -> None:
        """Say loudly that a record is not put into force, and that what was stays."""
        _log.critical("refused; what was in force stays", because=why, **self.panel.about)
        self._metrics.refuse(why)

    def _too_many(self, models: Models, tallies: dict[str, Tally]) -> str:
        """Why the challenger flags too much, judged each time enough payments have been scored by both."""
        if "challenger" not in tallies:
            return ""
        for role, tally in tallies.items():
            self._flagged[role] += tally.flagged
        self._scored += tallies["champion"].scored
        if self._scored < models.guard.least_payments:
            return ""
        scored, old, new = self._scored, self._flagged["champion"], self._flagged["challenger"]
        self._flagged, self._scored = {"champion": 0, "challenger": 0}, 0
        if new <= models.guard.most_alerts * max(old, _FEWEST):
            return ""
        return f"it would flag {new} of {scored} payments, the champion {old}"

    def _withdraw(self, models: Models, why: str) -> None:
        with self._lock:
            if self._models is not models:
                return  # somebody has decided otherwise meanwhile
            self._models = Models(
                champion=models.champion,
                guard=models.guard,
                at=self._clock.now_ms(),
                approver="guard",
                reason=f"{models.challenger} withdrawn: {why}",
            )
            self.panel = Panel(self.panel.champion)
            self.outgoing.append(self._models)
        self._metrics.withdrawn.inc()
        self._metrics.in_force_is(self.panel.about)
        _log.critical("challenger withdrawn by the guard", challenger=str(models.challenger), because=why)


def _check(panel: Panel) -> None:
    """Take a payment through a panel, as the stream will.

    Raises:
        ModelError: One of its models cannot score.
    """
    scored = warm_up(panel)
    if scored.failure or not np.isfinite(scored.score).all():
        raise ModelError(f"the model cannot score: {scored.failure or 'a score is no number'}", remedy="train it anew")


def read_policy(record: control.Policy) -> Policy:
    """The policy of a control record.

    Raises:
        PolicyError: It is not valid.
    """
    with tempfile.TemporaryDirectory(prefix="vedette-policy-") as directory:
        for name, text in record.files.items():
            if Path(name).name != name:
                raise PolicyError(f"{record.name}: a file of a policy has no folders in its name, but {name!r} has")
            (Path(directory) / name).write_text(text, encoding="utf-8")
        return load_policy(Path(directory) / control.POLICY_FILE, {*NAMES, *EVENT_COLUMNS})


def policy_record(file: Path, *, approver: str, reason: str, at: int) -> control.Policy:
    """The control record of a policy file, with the files of its lists.

    Raises:
        PolicyError: The policy is not valid.
        InputError: Nobody approves, or no reason is given.
    """
    for what, text in (("approver", approver), ("reason", reason)):
        if not text.strip():
            raise InputError(f"a change of the policy needs a {what}", remedy=f"give --{what}")
    policy = load_policy(file, {*NAMES, *EVENT_COLUMNS})
    lists = policy.form.lists
    beside = {entry.file for entry in (*lists.allow, *lists.block) if entry.file}
    files = {name: (file.parent / name).read_text(encoding="utf-8") for name in beside}
    text = file.read_text(encoding="utf-8")
    record = control.Policy(
        name=policy.name, files={**files, control.POLICY_FILE: text}, approver=approver, reason=reason, at=at
    )
    read_policy(record)  # so that what a worker would refuse is never sent
    return record
