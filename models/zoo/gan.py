"""Oversampling by a conditional generative adversarial network (Mirza and Osindero, 2014), in Keras (extra `deep`).

The generator learns both classes, told which one it is to make, so that the few frauds profit from what honest
payments teach about the shape of the data. Then it makes frauds.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.zoo.networks import keras

Floats = NDArray[np.float64]

NOISE = 32
"""Dimensions of the generator's input."""


class ConditionalGan:
    """A sampler of imbalanced-learn's form.

    Args:
        share: Frauds per honest row after resampling.
        seed: Of everything random.
        steps: Training steps.
        batch: Rows of a step, half of them frauds.
    """

    def __init__(self, share: float, seed: int, steps: int = 1500, batch: int = 128) -> None:
        self._share = share
        self._seed = seed
        self._steps = steps
        self._batch = batch

    def fit_resample(self, matrix: Floats, fraud: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.bool_]]:
        """The rows as given, and after them frauds that were made."""
        frauds, honest = np.flatnonzero(fraud), np.flatnonzero(~fraud)
        wanted = int(self._share * len(honest)) - len(frauds)
        if wanted <= 0:
            return matrix, fraud
        library = keras()
        library.utils.set_random_seed(self._seed)
        rng = np.random.default_rng(self._seed)
        width, half = matrix.shape[1], self._batch // 2
        generator, judge, both = _networks(library, width)
        kind = np.repeat([1.0, 0.0], half)[:, None].astype(np.float32)
        for _ in range(self._steps):
            rows = np.concatenate([rng.choice(frauds, half), rng.choice(honest, half)])
            made = np.asarray(generator(_noise(rng, kind)))
            judge.trainable = True
            judge.train_on_batch(np.column_stack([matrix[rows].astype(np.float32), kind]), np.full(2 * half, 0.9))
            judge.train_on_batch(np.column_stack([made, kind]), np.zeros(2 * half))
            judge.trainable = False
            both.train_on_batch(_noise(rng, kind), np.ones(2 * half))
        one = np.ones((wanted, 1), np.float32)
        made = np.asarray(generator.predict(_noise(rng, one), batch_size=4096, verbose=0), np.float64)
        low, high = matrix[frauds].min(axis=0), matrix[frauds].max(axis=0)
        return np.concatenate([matrix, np.clip(made, low, high)]), np.append(fraud, np.ones(wanted, np.bool_))


def _noise(rng: np.random.Generator, kind: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.column_stack([rng.normal(size=(len(kind), NOISE)).astype(np.float32), kind])


def _networks(library: Any, width: int) -> tuple[Any, Any, Any]:
    """Generator, judge, and the judge behind the generator; the last input column of each says which class."""
    layers = library.layers
    given = library.Input((NOISE + 1,))
    hidden = layers.Dense(128, activation="leaky_relu")(given)
    hidden = layers.Dense(128, activation="leaky_relu")(hidden)
    generator = library.Model(given, layers.Dense(width)(hidden))
    judge = library.Sequential(
        [
            library.Input((width + 1,)),
            layers.Dense(128, activation="leaky_relu"),
            layers.Dropout(0.3),
            layers.Dense(128, activation="leaky_relu"),
            layers.Dropout(0.3),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    judge.compile(optimizer=library.optimizers.Adam(2e-4, beta_1=0.5), loss="binary_crossentropy")
    judge.trainable = False
    both = library.Model(given, judge(layers.Concatenate()([generator(given), given[:, -1:]])))
    both.compile(optimizer=library.optimizers.Adam(2e-4, beta_1=0.5), loss="binary_crossentropy")
    return generator, judge, both
