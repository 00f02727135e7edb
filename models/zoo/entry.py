"""One row of a comparison: which model, against which imbalance, on which features and how much history."""

from typing import Literal

import msgspec

FeatureSet = Literal["published", "all"]
Imbalance = Literal["none", "class_weights", "undersampling", "smote", "tomek", "smote_tomek", "gan", "focal"]
Parameter = bool | int | float | str


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model as configured; any model goes with any imbalance method it can learn from.

    Attributes:
        model: A name of `models.zoo.fit.MODELS`.
        imbalance: What is done about the rarity of fraud, inside the training rows only.
        features: `published` are the handbook's fifteen, `all` whatever the frame has.
        history: Days of training before the fold's training end; 0 takes all there are.
        parameters: Passed to the model.
    """

    model: str
    imbalance: Imbalance = "none"
    features: FeatureSet = "all"
    history: int = 0
    parameters: dict[str, Parameter] = {}

    @property
    def title(self) -> str:
        """How tables and progress bars call it."""
        return self.model if self.imbalance == "none" else f"{self.model} + {self.imbalance}"
