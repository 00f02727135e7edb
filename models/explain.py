"""Why a payment scored high, in words."""

import math

import numpy as np
from numpy.typing import NDArray

from features.catalogue import CATALOGUE
from models.frame import EXTRA
from models.scorer import Scorer

_FEATURES = {feature.name: feature for feature in CATALOGUE}


def reasons(scorer: Scorer, rows: NDArray[np.float64], top: int = 3) -> list[list[str]]:
    """The features that raise each row's score most, put in words.

    Args:
        scorer: The model.
        rows: float64 [k, features of the catalogue + extra], as for `Scorer.predict`.
        top: At most this many reasons a row.

    Returns:
        Per row, the strongest first; fewer than `top` if fewer features raise the score.
    """
    contributions = scorer.contributions(rows)
    order = np.argsort(-contributions, axis=1, kind="stable")
    values = scorer.select(rows)
    result: list[list[str]] = []
    for row in range(len(rows)):
        said: list[str] = []
        for column in order[row]:
            if len(said) == top or contributions[row, column] <= 0:
                break
            if sentence := _sentence(scorer.names[column], float(values[row, column])):
                said.append(sentence)
        result.append(said)
    return result


def _sentence(name: str, value: float) -> str:
    """A feature's value in words; nothing if the words would say what is not so."""
    if name.startswith(EXTRA):
        return f"{name.removeprefix(EXTRA)} of {value:.4g}"
    feature = _FEATURES[name]
    if math.isnan(value):
        return f"unknown: {feature.meaning}"
    # A reason without a value states a fact, such as "at night"; it may only be said when the flag is set.
    if "{value" not in feature.reason and value != 1.0:
        return ""
    return feature.reason.format(value=value)
