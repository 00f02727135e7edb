"""Parameter search with prequential validation: train on earlier days, skip the delay, validate on later days."""

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from adapters.extras import needs_extra
from models import zoo
from models.frame import Frame
from models.zoo.entry import ModelEntry, Parameter
from vedette.clock import DAY
from vedette.errors import InputError

if TYPE_CHECKING:
    import optuna

Suggest = Callable[["optuna.Trial"], dict[str, Parameter]]

Pairs = list[tuple[NDArray[np.int64], NDArray[np.int64]]]
"""Pairs of training and validation rows, earliest first."""

LEAST_FRAUDS = 10
"""Minimum number of frauds for a validation to be meaningful."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a search: parameters, their mean average precision, and the numbers of trials run and pruned."""

    parameters: dict[str, Parameter]
    average_precision: float
    trials: int
    pruned: int


def _boosted(trial: "optuna.Trial") -> dict[str, Parameter]:
    return {
        "n_estimators": trial.suggest_int("n_estimators", 50, 400, log=True),
        "learning_rate": trial.suggest_float("learning_rate", 0.02, 0.3, log=True),
        "subsample": trial.suggest_float("subsample", 0.5, 1.0),
        "colsample_bytree": trial.suggest_float("colsample_bytree", 0.3, 1.0),
        "reg_lambda": trial.suggest_float("reg_lambda", 0.1, 100.0, log=True),
    }


def _xgboost(trial: "optuna.Trial") -> dict[str, Parameter]:
    return {
        **_boosted(trial),
        "max_depth": trial.suggest_int("max_depth", 2, 8),
        "min_child_weight": trial.suggest_float("min_child_weight", 0.1, 20.0, log=True),
        "max_bin": trial.suggest_categorical("max_bin", [256, 1024]),
        "base_score": 0.5,
    }


def _lightgbm(trial: "optuna.Trial") -> dict[str, Parameter]:
    return {
        **_boosted(trial),
        "subsample_freq": 1,
        "num_leaves": trial.suggest_int("num_leaves", 4, 63, log=True),
        "min_child_samples": trial.suggest_int("min_child_samples", 10, 300, log=True),
        "max_bin": trial.suggest_categorical("max_bin", [255, 1023]),
        "boost_from_average": False,
    }


def _forest(trial: "optuna.Trial") -> dict[str, Parameter]:
    return {
        "n_estimators": trial.suggest_int("n_estimators", 50, 200),
        "max_depth": trial.suggest_int("max_depth", 5, 30),
        "min_samples_leaf": trial.suggest_int("min_samples_leaf", 1, 20, log=True),
    }


def _logistic(trial: "optuna.Trial") -> dict[str, Parameter]:
    return {"C": trial.suggest_float("C", 1e-3, 100.0, log=True)}


def _champion(trial: "optuna.Trial") -> dict[str, Parameter]:
    return {
        "trees": trial.suggest_int("trees", 50, 400, log=True),
        "leaves": trial.suggest_int("leaves", 4, 63, log=True),
        "learning_rate": trial.suggest_float("learning_rate", 0.02, 0.3, log=True),
        "least_rows_in_leaf": trial.suggest_int("least_rows_in_leaf", 10, 300, log=True),
        "features_per_tree": trial.suggest_float("features_per_tree", 0.3, 1.0),
        "rows_per_tree": trial.suggest_float("rows_per_tree", 0.5, 1.0),
        "l2": trial.suggest_float("l2", 0.1, 100.0, log=True),
    }


SPACES: dict[str, Suggest] = {
    "xgboost": _xgboost,
    "stacked": _xgboost,
    "lightgbm": _lightgbm,
    "random_forest": _forest,
    "logistic_regression": _logistic,
    "vedette": _champion,
}


def prequential(frame: Frame, *, days: int, delay: int, steps: int) -> Pairs:
    """Return pairs of training and validation rows, earliest first; the last validation ends with the data.

    Args:
        frame: The rows to draw from.
        days: Length of a validation, and the distance between consecutive ones.
        delay: Days between training and validation, while labels arrive.
        steps: Number of pairs.

    Raises:
        InputError: The rows do not reach back far enough.
    """
    end = int(frame.event_time[-1]) + 1
    pairs: Pairs = []
    for step in reversed(range(steps)):
        start = end - (step + 1) * days * DAY
        taught, first, last = np.searchsorted(frame.event_time, [start - delay * DAY, start, start + days * DAY])
        pairs.append((np.arange(taught), np.arange(first, last)))
    _check(frame, pairs)
    return pairs


def parts(frame: Frame, steps: int) -> Pairs:
    """Return pairs for a table without dates: equal parts in time, each validating a model trained on all before it.

    Raises:
        InputError: A part has too few frauds.
    """
    cuts = np.linspace(0, len(frame), steps + 2).astype(int)
    pairs = [(np.arange(cuts[i]), np.arange(cuts[i], cuts[i + 1])) for i in range(1, steps + 1)]
    _check(frame, pairs)
    return pairs


def optimise(
    entry: ModelEntry,
    frame: Frame,
    pairs: Pairs,
    *,
    trials: int,
    seconds: float | None,
    storage: Path,
    seed: int = 0,
    threads: int = 1,
) -> Found:
    """Search with Optuna (TPE), pruning trials whose first validations fall below the median.

    Every trial is written to `storage` as it ends, so the same call resumes where an earlier one stopped, until there
    are `trials` trials or `seconds` have passed.

    Raises:
        InputError: There is no search space for the model, or no trial ended in time.
    """
    if entry.model not in SPACES:
        raise InputError(f"there is nothing to search for {entry.model}", remedy=f"choose among {', '.join(SPACES)}")
    with needs_extra("models", "the search for parameters"):
        import optuna  # noqa: PLC0415 - an extra
    storage.parent.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name=entry.title,
        storage=f"sqlite:///{storage}",
        direction="maximize",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5),
    )

    def objective(trial: "optuna.Trial") -> float:
        parameters = {**entry.parameters, **SPACES[entry.model](trial)}
        trial.set_user_attr("parameters", parameters)
        figures: list[float] = []
        for step, figure in enumerate(_judged(entry, parameters, frame, pairs, seed, threads)):
            figures.append(figure)
            trial.report(float(np.mean(figures)), step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return float(np.mean(figures))

    ended = sum(trial.state.is_finished() for trial in study.trials)
    if trials > ended:
        study.optimize(objective, n_trials=trials - ended, timeout=seconds)
    states = [trial.state for trial in study.trials]
    if optuna.trial.TrialState.COMPLETE not in states:
        raise InputError("no trial ended in the time given", remedy="give more minutes")
    return Found(
        parameters=study.best_trial.user_attrs["parameters"],
        average_precision=study.best_value,
        trials=len(states),
        pruned=states.count(optuna.trial.TrialState.PRUNED),
    )


def grid(
    entry: ModelEntry,
    frame: Frame,
    pairs: Pairs,
    values: dict[str, list[Parameter]],
    *,
    seed: int = 0,
    threads: int = 1,
) -> Found:
    """Try every combination of `values`; of equal results, the first wins."""
    best: tuple[float, dict[str, Parameter]] | None = None
    combinations = list(product(*values.values()))
    for combination in combinations:
        parameters = {**entry.parameters, **dict(zip(values, combination, strict=True))}
        figure = float(np.mean(list(_judged(entry, parameters, frame, pairs, seed, threads))))
        if best is None or figure > best[0]:
            best = (figure, parameters)
    if best is None:
        raise InputError("the grid is empty", remedy="give every parameter at least one value")
    return Found(parameters=best[1], average_precision=best[0], trials=len(combinations), pruned=0)


def _judged(
    entry: ModelEntry,
    parameters: dict[str, Any],
    frame: Frame,
    pairs: Pairs,
    seed: int,
    threads: int,
) -> Iterator[float]:
    configured = msgspec.structs.replace(entry, parameters=parameters)
    for training, validation in pairs:
        if entry.history:
            start = frame.event_time[training[-1]] - entry.history * DAY
            training = training[frame.event_time[training] > start]  # noqa: PLW2901 - a subset of the same rows
        score = zoo.fit(configured, frame, training, seed=seed, threads=threads).score(frame, validation)
        yield float(average_precision_score(frame.fraud[validation], score))


def _check(frame: Frame, pairs: Pairs) -> None:
    for training, validation in pairs:
        if min(frame.fraud[training].sum(), frame.fraud[validation].sum()) < LEAST_FRAUDS:
            raise InputError(
                f"{len(pairs)} validations need {LEAST_FRAUDS} frauds before and in each", remedy="take fewer"
            )
