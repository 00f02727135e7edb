"""TPOT (extra `automl`): whole pipelines found by evolution, judged by the same validations as everything else."""

from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score

from models.frame import Frame
from models.zoo.classic import margins
from models.zoo.entry import Entry
from models.zoo.fit import chosen, select
from models.zoo.search import Found, Pairs
from vedette.errors import UnavailableError

_WORDS = 100_000
"""Letters of a pipeline's description; scikit-learn cuts it short at 700."""


def search(entry: Entry, frame: Frame, pairs: Pairs, *, minutes: float, seed: int, threads: int) -> Found:
    """Let TPOT search for some minutes, on the entry's features; its cross-validation is `pairs`.

    Returns:
        The pipeline in words as the one parameter `pipeline`, and its mean average precision.

    Raises:
        UnavailableError: The extra is not installed.
    """
    try:
        import tpot  # noqa: PLC0415
    except ImportError as error:
        raise UnavailableError("TPOT is not installed", remedy="pip install 'vedette[automl]'") from error
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
    for teach, judge in pairs:
        pipeline.fit(np.nan_to_num(matrix[teach]), fraud[teach])
        figures.append(average_precision_score(fraud[judge], margins(pipeline, np.nan_to_num(matrix[judge]))))
    return Found(
        parameters={"pipeline": " ".join(pipeline.__repr__(N_CHAR_MAX=_WORDS).split())},
        average_precision=float(np.mean(figures)),
        trials=len(found.evaluated_individuals),
        pruned=0,
    )


class _Given:
    """Validations as scikit-learn's cross-validators give them."""

    def __init__(self, pairs: Pairs) -> None:
        self._pairs = pairs

    def split(self, *_: Any) -> Pairs:
        """The pairs."""
        return self._pairs

    def get_n_splits(self, *_: Any) -> int:
        """How many."""
        return len(self._pairs)
