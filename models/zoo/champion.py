"""Vedette's production model as an entry of the zoo: the same booster that `vedette train` makes."""

from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.train import TrainingConfig
from models.zoo.builder import FitSettings
from models.zoo.dask_boosting import learner
from vedette.errors import InputError

Floats = NDArray[np.float64]


class Champion:
    """`models.train` as a model of the zoo, with the parameters of TrainingConfig."""

    def __init__(self, settings: FitSettings) -> None:
        unknown = set(settings.parameters) - set(TrainingConfig.__struct_fields__)
        if unknown:
            raise InputError(f"vedette has no parameter {min(unknown)!r}", remedy="see models.train.TrainingConfig")
        known = {"seed": settings.seed, "threads": settings.threads, **settings.parameters}
        try:
            self._config = msgspec.convert(known, TrainingConfig)
        except msgspec.ValidationError as error:
            raise InputError(f"vedette: {error}", remedy="see models.train.TrainingConfig") from error
        self._learn = learner(settings.scheduler)

    def fit(self, matrix: Floats, fraud: NDArray[np.bool_]) -> Self:
        """Learn from these rows."""
        self._booster: Any = self._learn(matrix, fraud, self._config, ())
        self.feature_importances_ = self._booster.feature_importance("gain")
        return self

    def margins(self, matrix: Floats) -> Floats:
        """Return log-odds, float64 [n]."""
        result: Floats = self._booster.predict(matrix, raw_score=True, num_threads=self._config.threads)
        return result
