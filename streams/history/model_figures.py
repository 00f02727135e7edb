"""Figures of models on what the feature log holds: those of a trial, and drift since the training."""

from collections.abc import Callable
from typing import Any

from models.folder import read_baseline
from models.registry.store import fetch
from models.scorer import load_scorer
from streams.history.control_state import read_control
from streams.history.feature_log import read_recent
from streams.history.model_monitor import Observation, observe
from streams.history.trial_report import TrialReport
from streams.history.trial_report import report as trial_report
from vedette.settings import Settings

_DAYS, _WINDOW = 30.0, 7.0


def trial_figures(settings: Settings, days: float, delay_days: int, now: int) -> TrialReport:
    """Compare champion and challenger of the latest trial.

    Args:
        settings: Settings of the deployment.
        days: Days of the feature log to read, by time of arrival.
        delay_days: Days that a label takes to arrive.
        now: Milliseconds since 1970 UTC.

    Raises:
        InputError: There are no payments, or none that two models have scored.
        UnavailableError: The broker does not answer.
    """
    log, labels = read_recent(settings, days, now)
    return trial_report(log, labels, delay_days, control=read_control(settings).models)


def drift_figures(settings: Settings, days: float, window_days: float, now: int) -> Observation:
    """Measure the drift of features and score since the training of the champion.

    Args:
        settings: Settings of the deployment.
        days: Days of the feature log to read, by time of arrival.
        window_days: Last days of event time over which drift is measured.
        now: Milliseconds since 1970 UTC.

    Raises:
        InputError: There are too few payments.
        ModelError: The model does not fit.
        UnavailableError: The broker or the registry does not answer.
    """
    models = read_control(settings).models
    folder = fetch(settings.registry, models.champion) if models else settings.decisions.model_folder
    log, labels = read_recent(settings, days, now)
    return observe(load_scorer(folder), read_baseline(folder), log, labels, window_days)


def figures_of(settings: Settings) -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
    """Return how the figures of trial and drift are computed: a function, and its arguments but the present moment."""
    delay = settings.features.label_delay_days
    return {"trial": (trial_figures, (settings, _DAYS, delay)), "drift": (drift_figures, (settings, _DAYS, _WINDOW))}
