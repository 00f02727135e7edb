"""Scoring: a model folder as a function from feature rows to probabilities."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from features.catalogue import NAMES, SETTLED, hash_for
from models.booster import Booster, feature_names
from models.file_names import BOOSTER, CONTRACT
from models.folder import Contract, extra_columns, read_baseline, read_booster, read_contract
from models.usual import Usual
from vedette.clock import DAY
from vedette.errors import ModelError
from vedette.events import EXTRA

Floats = NDArray[np.float64]


class Scorer:
    """A model ready to score. A row's probability is bit-identical in every batch.

    Attributes:
        contract: Contract of the model folder.
        version: Name and version, such as `demo@1a2b3c4d`.
        names: Columns of the booster, in order.
        extra: Names of the extra columns that a transaction must carry, in the expected order.
        threshold: Probability of lowest expected cost, chosen on validation.
        features_hash: Hash of the feature catalogue.
        usual: Distribution of the features in training.
        reads_live: Whether it reads columns beyond those of the settled features: live ones, or extra columns.
    """

    def __init__(self, contract: Contract, text: str, catalogue: tuple[str, ...], usual: Usual) -> None:
        self.contract = contract
        self.usual = usual
        self.version = f"{contract.name}@{contract.version}"
        self.names = tuple(contract.features)
        self.extra = extra_columns(contract)
        self.threshold = contract.thresholds.lowest_cost
        self.features_hash = contract.features_hash
        self._calibration = contract.calibration
        offered = (*catalogue, *(EXTRA + name for name in self.extra))
        self._offered = offered
        self._width = len(offered)
        self._columns = np.array([offered.index(name) for name in self.names])
        self._everything = self.names == offered
        self.reads_live = bool((self._columns >= len(SETTLED)).any())
        self._booster = Booster(text, self._columns)

    def predict(self, matrix: Floats) -> Floats:
        """Return calibrated probabilities of fraud.

        Args:
            matrix: float64 [n, features of the catalogue + extra], NaN is a missing value; for a model that reads no
                live features also float64 [n, settled features].

        Returns:
            float64 [n].

        Raises:
            ModelError: The matrix has another width.
        """
        return self._calibration.apply(self.margins(matrix))

    def margins(self, matrix: Floats) -> Floats:
        """Return log-odds before calibration, float64 [n], for a matrix as in `predict`."""
        self._check_width(matrix)
        return self._booster.margins(matrix) if len(matrix) else np.empty(0)

    def contributions(self, matrix: Floats) -> Floats:
        """Return each feature's contribution to the log-odds of each row (TreeSHAP), for a matrix as in `predict`.

        The contributions of a row and a constant of the model add up to the margin of the row.

        Returns:
            float64 [k, features of the model].
        """
        self._check_width(matrix)
        return self._booster.contributions(matrix) if len(matrix) else np.empty((0, len(self.names)))

    def column(self, name: str) -> int:
        """Return the place of a feature in a matrix as in `predict`."""
        return self._offered.index(name)

    def select(self, matrix: Floats) -> Floats:
        """Return the model's columns of a matrix as in `predict`, float64 [n, features of the model]."""
        self._check_width(matrix)
        return matrix if self._everything else np.take(matrix, self._columns, axis=1)

    def _check_width(self, matrix: Floats) -> None:
        if matrix.shape[1] != self._width and (self.reads_live or matrix.shape[1] != len(SETTLED)):
            raise ModelError(
                f"model {self.version} scores rows of {self._width} columns, not {matrix.shape[1]}",
                remedy=f"give the catalogue's features, then the extra columns ({', '.join(self.extra) or 'none'})",
            )


def check_label_delay(scorer: Scorer, days: int) -> None:
    """Raise if a model was trained under another label delay than that of the deployment.

    Raises:
        ModelError: It was.
    """
    if scorer.contract.label_delay_days != days:
        raise ModelError(
            f"model {scorer.version} was trained with labels after {scorer.contract.label_delay_days} days, "
            f"this deployment has {days}",
            remedy="set [features] label_delay_days to the model's, or train it again",
        )


def load_scorer(folder: Path) -> Scorer:
    """Load a model folder and check that it matches the feature catalogue in force.

    Raises:
        ModelError: A file is missing, corrupt or not the one that was saved, or the model was trained on other
            features; the message says which and what to do.
    """
    contract = read_contract(folder)
    in_force = hash_for(contract.features, contract.label_delay_days * DAY)
    if contract.features_hash != in_force:
        raise ModelError(
            f"model {contract.name}@{contract.version} was trained on features {contract.features_hash[:12]}, "
            f"the catalogue in force is {in_force[:12]}",
            remedy="train it again with `vedette train`, or run the version of Vedette it was made with",
        )
    unknown = [name for name in contract.features if not name.startswith(EXTRA) and name not in NAMES]
    if unknown:
        raise ModelError(f"{folder / CONTRACT} names {unknown[0]!r}, which is not a feature", remedy="train it again")
    try:
        text = read_booster(folder, contract)
        scorer = Scorer(contract, text, NAMES, Usual(read_baseline(folder), contract.label_delay_days))
    except ValueError as error:
        raise ModelError(f"{folder / BOOSTER} is not a LightGBM model: {error}", remedy="train it again") from error
    if feature_names(text) != contract.features:
        raise ModelError(f"{folder}: model and contract name different features", remedy="train it again")
    return scorer
