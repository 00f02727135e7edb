"""Why a payment scored high, in words, and what is usual for the account where that can be told."""

import functools
import math
import re

import numpy as np
from numpy.typing import NDArray

from features.catalogue import ACCOUNT_WINDOWS, CATALOGUE, NAMES
from models.scorer import Scorer
from vedette.clock import DAY
from vedette.events import EXTRA

_FEATURES = {feature.name: feature for feature in CATALOGUE}
_COLUMN = {name: column for column, name in enumerate(NAMES)}
_WINDOW = re.compile(r"_(1min|10min|1h|6h|1d|7d|30d|lifetime)$")

_TOPICS = {
    "amount": ("amount_", "balance", "drain"),
    "pace": ("account_count", "burst", "seconds_since", "gap_to"),
    "spending": ("account_sum", "account_mean", "account_max", "account_std", "day_total", "month_total"),
    "hour": ("hour", "is_night", "weekday", "is_weekend"),
    "place": ("distance_km", "speed_kmh"),
}
"""Features that say much the same, by how their names begin: one reason speaks for all of them."""

_SPANS = ((86_400.0, "day"), (3_600.0, "hour"), (60.0, "minute"), (1.0, "second"))


def reasons(scorer: Scorer, rows: NDArray[np.float64], top: int = 3) -> list[list[str]]:
    """What raises each row's score most, put in words.

    Features that say much the same (the numbers of payments in an hour and in a day, say) are taken together: what
    they add to the score is summed, and the one that adds most speaks, so that a reason is not told three times.

    Args:
        scorer: The model.
        rows: float64 [k, features of the catalogue + extra], as for `Scorer.predict`.
        top: At most this many reasons a row.

    Returns:
        Per row, the strongest first; fewer than `top` if fewer topics raise the score.
    """
    contributions = scorer.contributions(rows)
    topics = [_topic(name) for name in scorer.names]
    names = sorted(set(topics))
    member = np.array([names.index(topic) for topic in topics], np.int64)
    together = np.zeros((len(rows), len(names)))
    for topic in range(len(names)):
        together[:, topic] = contributions[:, member == topic].sum(axis=1)
    order = np.argsort(-together, axis=1, kind="stable")
    strongest = np.argsort(-contributions, axis=1, kind="stable")
    values = scorer.select(rows)
    result: list[list[str]] = []
    for row in range(len(rows)):
        said: list[str] = []
        for topic in order[row]:
            if len(said) == top or together[row, topic] <= 0:
                break
            for column in strongest[row][member[strongest[row]] == topic]:
                if contributions[row, column] <= 0:
                    break
                if sentence := _sentence(scorer.names[column], float(values[row, column]), rows[row]):
                    said.append(sentence)
                    break
        result.append(said)
    return result


@functools.cache
def _topic(name: str) -> str:
    for topic, beginnings in _TOPICS.items():
        if name.startswith(beginnings):
            return topic
    return _WINDOW.sub("", name.removeprefix("used_").removeprefix("is_new_"))


def _sentence(name: str, value: float, row: NDArray[np.float64]) -> str:
    """A feature's value in words; nothing if the words would say what is not so."""
    if name.startswith(EXTRA):
        return f"{name.removeprefix(EXTRA)} of {value:.4g}"
    feature = _FEATURES[name]
    if math.isnan(value):
        return f"unknown: {feature.meaning}"
    # A reason without a value states a fact, such as "at night"; it may only be said when the flag is set.
    if "{" not in feature.reason and value != 1.0:
        return ""
    return feature.reason.format(value=value, span=_span(value)) + _usual(name, value, row)


def _usual(name: str, value: float, row: NDArray[np.float64]) -> str:
    """What is usual for the account, from its other features; nothing where that cannot be told."""
    what, _, window = name.removeprefix("account_").rpartition("_")
    if name.startswith("account_") and window in ACCOUNT_WINDOWS and window != "30d" and what in ("count", "sum"):
        # What came before the window, by day, over the days of the thirty that are not in it.
        before = (row[_COLUMN[f"account_{what}_30d"]] - value) / (30 - ACCOUNT_WINDOWS[window] / DAY)
        if what == "count":
            return f", usually {_pace(before)}" if before > 0 else ", none before in 30 days"
        return f", usually {before:,.2f} a day" if before > 0 else ""
    if name == "amount_major" and (ratio := row[_COLUMN["amount_to_mean_30d"]]) > 0:
        return f", usually {value / ratio:,.2f}"
    if name == "seconds_since_last" and (ratio := row[_COLUMN["gap_to_mean_30d"]]) > 0:
        return f", usually {_span(value / ratio)}"
    if name in ("hour", "is_night") and not math.isnan(habit := row[_COLUMN["hour_habit_30d"]]):
        return f", when {habit:.0%} of the account's payments happen"
    return ""


def _pace(per_day: float) -> str:
    """A number of payments a day, in the span in which there is at least one."""
    for days, span in ((1, "day"), (7, "week"), (30, "month")):
        if per_day * days >= 1 or span == "month":
            return f"{max(per_day * days, 1):.0f} a {span}"
    raise AssertionError


def _span(seconds: float) -> str:
    """A span of time in its largest whole unit."""
    for length, unit in _SPANS:
        if seconds >= length or unit == "second":
            number = round(seconds / length)
            return f"{number:,} {unit}{'' if number == 1 else 's'}"
    raise AssertionError
