"""TPOT (extra `automl`): whole pipelines found by evolution, evaluated on the same validation rows as all others."""

from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score

from adapters.extras import needs_extra
from models.frame import Frame
from models.zoo.classic import margins
from models.zoo.entry import ModelEntry
from models.zoo.fit import chosen, select
from models.zoo.search import Found, Pairs

_WORDS = 100_000
"""Maximum length of a pipeline's description in characters; scikit-learn truncates it at 700."""


def search(entry: ModelEntry, frame: Frame, pairs: Pairs, *, minutes: float, seed: int, threads: int) -> Found:
    """Run TPOT for some minutes on the entry's features, with `pairs` for cross-validation.

    Returns:
        The pipeline's description as the only parameter, `pipeline`, and its mean average precision.

    Raises:
        UnavailableError: The extra is not installed.
    """
    with needs_extra("automl", "the search for pipelines"):
        import tpot  # noqa: PLC0415 - an extra
    rows = np.arange(len(frame))
    matrix, fraud = select(frame, rows, chosen(entry, frame)), frame.fraud.astype(int)
    found: Any = tpot.TPOTEstimator(
        search_space="linear",
        scorers=["average_precision"],
        scorers_weights=[1],
        cv=_Given(pairs),
        classification=True,
        max_time_mins=minutes,
        n_jobs=threads,
        random_state=seed,
    )
    found.fit(np.nan_to_num(matrix), fraud)
    pipeline = found.fitted_pipeline_
    figures = []
    for training, validation in pairs:
        pipeline.fit(np.nan_to_num(matrix[training]), fraud[training])
        figures.append(average_precision_score(fraud[validation], margins(pipeline, np.nan_to_num(matrix[validation]))))
    return Found(
        parameters={"pipeline": " ".join(pipeline.__repr__(N_CHAR_MAX=_WORDS).split())},
        average_precision=float(np.mean(figures)),
        trials=len(found.evaluated_individuals),
        pruned=0,
    )


class _Given:
    """Fixed validation pairs with the interface of a scikit-learn cross-validator."""

    def __init__(self, pairs: Pairs) -> None:
        self._pairs = pairs

    def split(self, *_: Any) -> Pairs:
        """Return the pairs."""
        return self._pairs

    def get_n_splits(self, *_: Any) -> int:
        """Return the number of pairs."""
        return len(self._pairs)
