"""One entry on one case: fit, calibrate, choose the threshold, judge. What was judged before is read again."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
import numpy as np

from features.catalogue import NAMES
from models import calibration, zoo
from models.compare import figures
from models.compare.figures import Outcome
from models.compare.source import Case, digest
from models.guards import leakage
from models.metrics import threshold_at_lowest_cost
from models.train import LEAST_FRAUDS
from models.zoo import Entry
from vedette.errors import InputError

RECIPE = 2
"""Raised when the same entry on the same rows would give other figures."""

VALIDATION = 0.2
"""Share of the training rows, the latest in time, that calibrate and choose the threshold."""

_LIBRARIES = ("lightgbm", "numpy", "scikit-learn", "xgboost-cpu", "xgboost", "imbalanced-learn", "keras", "jax")


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of an entry on a case and, for the report, its probabilities of the test rows."""

    outcome: Outcome
    score: list[float]


class Judge:
    """Trains and measures; what was judged before is kept under a name made of everything it depends on.

    A comparison that was interrupted goes on where it stopped, and one that ran before is only read.

    Args:
        cache: Where verdicts are kept.
        contact_cost: Minor units that a false alarm costs.
        clock: Seconds, for the times.
        seed: Of everything random.
        threads: At most this many at once.
        scheduler: Of a Dask cluster, see models.zoo.fit.
    """

    def __init__(
        self,
        cache: Path,
        *,
        contact_cost: int,
        clock: Callable[[], float],
        seed: int = 0,
        threads: int = 1,
        scheduler: str = "",
    ) -> None:
        self._cache = cache
        self._contact_cost = contact_cost
        self._clock = clock
        self._fit = partial(zoo.fit, seed=seed, threads=threads, scheduler=scheduler)
        self._asked = (RECIPE, contact_cost, seed, *(["dask"] if scheduler else []))

    def __call__(self, entry: Entry, case: Case) -> Verdict:
        """The verdict on an entry, from the cache if it is there.

        Raises:
            InputError: Too few frauds, the split leaks, or the entry cannot be trained.
        """
        dependencies = (entry, case.digest, libraries(), *self._asked)
        path = self._cache / f"{digest(msgspec.json.encode(dependencies))[:32]}.msgpack"
        if path.exists():
            try:
                return msgspec.msgpack.decode(path.read_bytes(), type=Verdict)
            except msgspec.MsgspecError:
                path.unlink()  # cut short by a full disk, or of another layout: judged anew
        verdict = self._judge(entry, case)
        self._cache.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_bytes(msgspec.msgpack.encode(verdict))
        part.replace(path)
        return verdict

    def _judge(self, entry: Entry, case: Case) -> Verdict:
        """Train and measure.

        As in models.train: the earlier rows teach a first model, whose margins on the later ones make the calibration
        and the threshold; then the same entry learns from all rows and keeps both. The test is used once, at the end.
        """
        frame, rows = case.frame, case.history(entry.history)
        if not len(rows):
            raise InputError(f"case {case.name} has no training rows", remedy="give a longer history")
        split = leakage.Split(rows, case.test, known_at=int(frame.event_time[case.test[0]]), delay=case.delay)
        leakage.check(frame, split, known_names=NAMES)
        cut = int(np.searchsorted(frame.event_time[rows], frame.event_time[rows[int(len(rows) * (1 - VALIDATION))]]))
        earlier, later = rows[:cut], rows[cut:]
        for part in (earlier, later):
            if frame.fraud[part].sum() < LEAST_FRAUDS:
                raise InputError(
                    f"case {case.name}: {int(frame.fraud[part].sum())} frauds in {len(part)} rows are too few",
                    remedy=f"give a longer history; both parts need {LEAST_FRAUDS}",
                )
        margin = self._fit(entry, frame, earlier).score(frame, later)
        calibrated = calibration.fit(margin, frame.fraud[later])
        threshold = threshold_at_lowest_cost(
            calibrated.apply(margin), frame.fraud[later], frame.amount[later], self._contact_cost
        )
        begun = self._clock()
        fitted = self._fit(entry, frame, rows)
        fit_s = self._clock() - begun
        begun = self._clock()
        score = calibrated.apply(fitted.score(frame, case.test))
        predict_s = self._clock() - begun
        measured, replicates = figures.measure(
            frame.take(case.test),
            score,
            threshold=threshold,
            contact_cost=self._contact_cost,
            cards=case.cards,
            fit_s=fit_s,
            predict_s=predict_s,
            training_rows=len(rows),
        )
        outcome = Outcome(case=case.name, figures=measured, replicates=replicates, importance=fitted.importance(frame))
        return Verdict(outcome=outcome, score=score.tolist())


def libraries() -> dict[str, str]:
    """Versions of what trains."""
    found: dict[str, str] = {}
    for name in _LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
