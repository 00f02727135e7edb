"""One row of a comparison: the model, the imbalance method, the features and the length of history."""

from typing import Literal

import msgspec

FeatureSet = Literal["published", "settled", "all"]
Imbalance = Literal["none", "class_weights", "undersampling", "smote", "tomek", "smote_tomek", "gan", "focal"]
Parameter = bool | int | float | str


class ModelEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model as configured; a model can be combined with any imbalance method that it supports.

    Attributes:
        model: A name of `models.zoo.fit.MODELS`.
        imbalance: Treatment of the rarity of fraud, inside the training rows only.
        features: `published` for the handbook's fifteen, `settled` for all but the live ones, `all` for every column of
            the frame.
        history: Days of training before the end of the fold's training; 0 takes all of them.
        parameters: Parameters passed to the model.
    """

    model: str
    imbalance: Imbalance = "none"
    features: FeatureSet = "all"
    history: int = 0
    parameters: dict[str, Parameter] = {}

    @property
    def title(self) -> str:
        """Return the name shown in tables and progress bars."""
        return self.model if self.imbalance == "none" else f"{self.model} + {self.imbalance}"
