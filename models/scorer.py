"""Scoring: the model folder as a function from feature rows to probabilities."""

from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from features.catalogue import NAMES, catalogue_hash
from models.folder import BOOSTER, CONTRACT, Contract, extra_columns, read_booster, read_contract
from vedette.errors import ModelError
from vedette.events import EXTRA

Floats = NDArray[np.float64]


class Scorer:
    """A model ready to score. A row's probability has the same bits in whatever batch it comes.

    Attributes:
        contract: What the folder says about the model.
        version: Name and version, such as `demo@1a2b3c4d`.
        names: Columns of the booster, in order.
        extra: Names of the columns that the transaction must bring along, in the order they are expected.
        threshold: Probability of lowest expected cost, chosen on validation.
        features_hash: Of the feature catalogue.
    """

    def __init__(self, contract: Contract, booster: Any, catalogue: tuple[str, ...]) -> None:
        self.contract = contract
        self.version = f"{contract.name}@{contract.version}"
        self.names = tuple(contract.features)
        self.extra = extra_columns(contract)
        self.threshold = contract.thresholds.lowest_cost
        self.features_hash = contract.features_hash
        self._booster = booster
        self._calibration = contract.calibration
        offered = (*catalogue, *(EXTRA + name for name in self.extra))
        self._width = len(offered)
        self._columns = np.array([offered.index(name) for name in self.names])
        self._everything = self.names == offered

    def predict(self, matrix: Floats) -> Floats:
        """Calibrated probabilities of fraud.

        Args:
            matrix: float64 [n, features of the catalogue + extra], NaN is a missing value.

        Returns:
            float64 [n].

        Raises:
            ModelError: The matrix has another width.
        """
        return self._calibration.apply(self.margins(matrix))

    def margins(self, matrix: Floats) -> Floats:
        """Log-odds before calibration, float64 [n], of a matrix as for `predict`."""
        if not len(matrix):
            return np.empty(0)
        margins: Floats = self._booster.predict(self.select(matrix), raw_score=True, num_threads=1)
        return margins

    def contributions(self, matrix: Floats) -> Floats:
        """What each feature adds to the log-odds of each row (TreeSHAP), for a matrix as for `predict`.

        A row's contributions and a constant of the model add up to its margin.

        Returns:
            float64 [k, features of the model].
        """
        if not len(matrix):
            return np.empty((0, len(self.names)))
        shares: Floats = self._booster.predict(self.select(matrix), pred_contrib=True, num_threads=1)
        return shares[:, :-1]

    def select(self, matrix: Floats) -> Floats:
        """The model's own columns of a matrix as for `predict`, float64 [n, features of the model]."""
        if matrix.shape[1] != self._width:
            raise ModelError(
                f"model {self.version} scores rows of {self._width} columns, not {matrix.shape[1]}",
                remedy=f"give the catalogue's features, then the extra columns ({', '.join(self.extra) or 'none'})",
            )
        return matrix if self._everything else np.take(matrix, self._columns, axis=1)


def load_scorer(folder: Path) -> Scorer:
    """Load a model folder and make sure that it fits this version's features.

    Raises:
        ModelError: A file is missing, corrupt or not the one that was saved, or the model was trained on other
            features; the message says which and what to do.
    """
    contract = read_contract(folder)
    if contract.features_hash != catalogue_hash():
        raise ModelError(
            f"model {contract.name}@{contract.version} was trained on features {contract.features_hash[:12]}, "
            f"the catalogue in force is {catalogue_hash()[:12]}",
            remedy="train it anew with `vedette train`, or run the version of Vedette it was made with",
        )
    unknown = [name for name in contract.features if not name.startswith(EXTRA) and name not in NAMES]
    if unknown:
        raise ModelError(f"{folder / CONTRACT} names {unknown[0]!r}, which is no feature", remedy="train it anew")
    try:
        booster = lightgbm.Booster(model_str=read_booster(folder, contract))
    except (lightgbm.basic.LightGBMError, UnicodeDecodeError) as error:
        raise ModelError(f"{folder / BOOSTER} is no LightGBM model: {error}", remedy="train it anew") from error
    if booster.feature_name() != contract.features:
        raise ModelError(f"{folder}: model and contract name different features", remedy="train it anew")
    return Scorer(contract, booster, NAMES)
