"""Entries on cases: fit, calibrate, choose the threshold, test. Results computed earlier are read from the cache."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from adapters.files import write_atomically
from features.catalogue import NAMES
from models import calibration, leakage, zoo
from models.compare import figures
from models.compare.figures import CaseFigures
from models.compare.source import Case, digest
from models.metrics import threshold_at_lowest_cost
from models.train import LEAST_FRAUDS
from models.zoo import ModelEntry
from vedette.errors import InputError

RECIPE = 2
"""Version of the recipe, increased when the same entry on the same rows would give different figures."""

VALIDATION = 0.2
"""Share of the training rows, the latest in time, used for calibration and for choosing the threshold."""

_LIBRARIES = ("lightgbm", "numpy", "scikit-learn", "xgboost-cpu", "xgboost", "imbalanced-learn", "keras", "jax")


class CaseResult(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of an entry on a case and, for the report, its probabilities of the test rows."""

    outcome: CaseFigures
    score: list[float]


class EntryResult(NamedTuple):
    """An entry with its result on every case."""

    entry: ModelEntry
    results: list[CaseResult]


class Evaluator:
    """Trains and evaluates entries, and caches each result under a key made of everything it depends on.

    An interrupted comparison continues where it stopped, and a completed one is only read.

    Args:
        cache: Folder of cached results.
        contact_cost: Minor units that a false alarm costs.
        clock: Returns seconds, for the times of training and scoring.
        seed: Seed of everything random.
        threads: Maximum number of training threads.
        scheduler: Address of a Dask cluster, see models.zoo.fit; empty for none.
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

    def __call__(self, entry: ModelEntry, case: Case) -> CaseResult:
        """Return the result of an entry on a case, from the cache if it is there.

        Raises:
            InputError: Too few frauds, the split leaks, or the entry cannot be trained.
        """
        dependencies = (entry, case.digest, libraries(), *self._asked)
        path = self._cache / f"{digest(msgspec.json.encode(dependencies))[:32]}.msgpack"
        if path.exists():
            try:
                return msgspec.msgpack.decode(path.read_bytes(), type=CaseResult)
            except msgspec.MsgspecError:
                path.unlink()  # cut short by a full disk, or in another layout: computed again
        result = self._evaluate(entry, case)
        write_atomically(path, msgspec.msgpack.encode(result))
        return result

    def _evaluate(self, entry: ModelEntry, case: Case) -> CaseResult:
        """Train and evaluate.

        As in models.train: a first model is trained on the earlier rows, and its margins on the later rows give the
        calibration and the threshold. Then the same entry is trained on all rows and keeps both. The test is used once,
        at the end.
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
        outcome = CaseFigures(
            case=case.name, figures=measured, replicates=replicates, importance=fitted.importance(frame)
        )
        return CaseResult(outcome=outcome, score=score.tolist())


def compare(
    entries: Iterable[ModelEntry],
    cases: list[Case],
    evaluate: Evaluator,
    on_case: Callable[[], None] = lambda: None,
) -> Iterator[EntryResult]:
    """Evaluate every entry on every case, and yield each entry once all its cases are done.

    Args:
        entries: The entries to compare.
        cases: Trainings with their tests.
        evaluate: Trains and evaluates.
        on_case: Called after each case.

    Raises:
        InputError: As Evaluator.
    """
    for entry in entries:
        results: list[CaseResult] = []
        for case in cases:
            results.append(evaluate(entry, case))
            on_case()
        yield EntryResult(entry, results)


def libraries() -> dict[str, str]:
    """Return the versions of the libraries that train."""
    found: dict[str, str] = {}
    for name in _LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
