"""Models: training, evaluation, the model folder with its contract, scoring and explanation.

To score: `load_scorer(folder)` and `reasons(scorer, rows)`. To train: `models.frame.collect`, `models.evaluate`,
`models.train`, `models.folder.save`.
"""

from models.scorer import Scorer, load_scorer

__all__ = ["Scorer", "load_scorer"]
